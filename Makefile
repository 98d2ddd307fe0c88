# The index of every command a person types here. `make` alone prints it.
#
# What is longer than two lines is a script that the recipe names. Settings such as YES=1 or
# BANNKREIS_SIM_SEEDS=5000 can stand after the target or in the environment: make hands both on.
.DEFAULT_GOAL := help
.PHONY: help demo demo-sabotage test verify verify-full fix sim sim-net planted e2e vm-test bench fuzz doc deny tidy

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## three nodes, one attacker, real firewalls, two minutes (DEMO_HOLD=30 pauses before the end)
	@deploy/demo/run

demo-sabotage: ## the same story with a part cut off, one part after the other: the demo must notice
	@deploy/demo/run --sabotage

test: ## every test that can run here; those that cannot say why
	@cargo build --workspace --bins --locked
	@.ci/test

verify: ## all that a change must pass, as CI runs it (YES=1 installs what is missing, CI=1 allows no skips)
	@.ci/verify

verify-full: ## verify with many times the seeds of both simulations and the differential logs, 50 power cuts, 200 kills and 60 other faults, then every planted bug, and Debian's own kernel
	@BANNKREIS_SIM_SEEDS=20000 BANNKREIS_NET_SEEDS=200 BANNKREIS_DIFFERENTIAL_ROUNDS=60 BANNKREIS_POWER_CUT_ROUNDS=50 BANNKREIS_KILLS=200 BANNKREIS_CHAOS_FAULTS=60 .ci/verify
	@$(MAKE) --no-print-directory planted
	@$(MAKE) --no-print-directory vm-test

vm-test: ## the firewall and a daemon on Debian's own kernel, in an emulated machine that is started three times (needs root)
	@deploy/demo/bootstrap --vm
	@tests/vm/run

fix: ## format, and apply what clippy can repair by itself
	cargo clippy --workspace --all-targets --all-features --fix --allow-dirty --allow-staged
	cargo fmt --all

sim: ## the simulation: seeded faults and an oracle (BANNKREIS_SIM_SEEDS=5000 runs more, BANNKREIS_SIM_SEED=7 replays one)
	@if [ -n "$(BANNKREIS_SIM_SEED)" ]; then cargo test --locked -p bannkreis-tests --test sim -- seeds_keep_every_promise --nocapture; \
	else .ci/test --only sim; fi

sim-net: ## whole nodes on a faulty network, disk and clock (BANNKREIS_NET_SEEDS=1000 runs more, BANNKREIS_NET_SEED=7 replays one)
	@cargo test --locked -p bannkreis-raft --lib -- simulated::runs::seeds_keep_every_promise --nocapture

planted: ## proves that the simulations catch bugs: plants each of tests/planted, one after the other
	@tests/planted/run

e2e: ## whole daemons in network namespaces, real netfilter, kill -9, power cuts (BANNKREIS_POWER_CUT_ROUNDS=50, BANNKREIS_KILLS=200)
	@cargo build --workspace --bins --locked
	@.ci/test --only e2e

bench: ## the benchmarks, in release mode: lines per second beside fail2ban, line to block, line to committed
	@cargo build --release --workspace --bins --locked
	@BANNKREIS_FAIL2BAN_DIR=$$(.ci/fail2ban-config) target/release/bench-filter
	@BANNKREIS_RSYSLOG_DIR=$$(.ci/unpacked rsyslog libestr0 libfastjson4) cargo bench --locked -p bannkreis-benches

fuzz: ## libFuzzer on each target of fuzz/ (FUZZ_SECONDS=60)
	@.ci/fuzz

doc: ## the API documentation, opened in a browser
	cargo doc --workspace --no-deps --open

deny: ## licences, banned crates and sources of everything in the tree
	@.ci/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

tidy: ## the house rules that are tests: layers, names, sizes, the map
	@.ci/test --only tidy
