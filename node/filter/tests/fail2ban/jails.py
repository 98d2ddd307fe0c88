"""What fail2ban itself makes of configuration directories: for the tests that compare our reading with it.

usage: python3 jails.py PACKAGES < DIRECTORIES > ANSWERS

PACKAGES is the directory that holds the package `fail2ban`. Each line of standard input names a configuration
directory, and each line of standard output is one JSON object:

    {"error": null or "why nothing was read", "jails": {name: {"error": null or why, "options": …, "actions": …}}}

Nothing is started, and no log file need be there. Tags that double each other make fail2ban eat the machine:
then its memory or its time is over first, and that is an error as any other.
"""

import json
import logging
import resource
import signal
import sys

MEMORY_BYTES_MAX = 1 << 30
SECONDS_MAX = 5

sys.path.insert(0, sys.argv[1])
logging.disable(logging.CRITICAL)

from fail2ban.client.jailreader import JailReader  # noqa: E402
from fail2ban.client.jailsreader import JailsReader  # noqa: E402
from fail2ban.helpers import extractOptions, splitWithOptions  # noqa: E402


def out_of_time(_signal, _frame):
    raise TimeoutError("it took too long")


resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
signal.signal(signal.SIGALRM, out_of_time)


def actions_of(stream):
    """Every action of a stream of commands: its name in the jail, then all that is set for it."""
    actions = []
    for command in stream:
        if command[0] == "set" and command[2] == "addaction":
            actions.append([command[3], {}])
        elif command[0] == "multi-set" and command[2] == "action":
            actions[-1][1].update(command[4])
        elif command[0] == "set" and command[2] == "action":
            actions[-1][1][command[4]] = command[5]
    return actions


def options_of(stream):
    """Every option of a stream of commands; what may be there more than once is a list."""
    options = {"failregex": [], "ignoreregex": [], "ignoreip": [], "journalmatch": []}
    for command in stream:
        if command[0] == "add":
            options["backend"] = command[2]
        elif command[0] == "multi-set" and command[2].startswith("add"):
            options[command[2][3:]] += command[3]
        elif command[0] == "set" and command[2] == "addjournalmatch":
            options["journalmatch"].append(command[3:])
        elif command[0] == "set" and command[2] == "addignoreip":
            options["ignoreip"] += command[3:]
        elif command[0] == "set" and command[2] in ("addfailregex", "addignoreregex"):
            options[command[2][3:]].append(command[3])
        elif command[0] == "set" and command[2] not in ("addlogpath", "addaction", "action"):
            options[command[2]] = command[3]
    return options


def jail(name, directory, shared):
    reader = JailReader(name, share_config=shared, basedir=directory)
    reader.read()
    done = reader.getOptions()
    if done and not reader.isEnabled():
        return None
    if not done:
        return {"error": reader.options.get("config-error", "?")}
    stream = reader.convert(allow_no_files=True)
    options = options_of(stream)
    options["logpath"] = reader.options.get("logpath")
    named = [extractOptions(part.strip()) for part in splitWithOptions(reader.options["action"]) if part.strip()]
    return {"error": None, "options": options, "named": named, "actions": actions_of(stream)}


def directory(path):
    shared = {}
    try:
        reader = JailsReader(share_config=shared, basedir=path)
        reader.read()
        names = [name for name in reader.sections() if name != "INCLUDES"]
    except Exception as error:
        return {"error": repr(error), "jails": {}}
    jails = {}
    for name in names:
        try:
            signal.alarm(SECONDS_MAX)
            read = jail(name, path, shared)
        except Exception as error:
            read = {"error": repr(error)}
        finally:
            signal.alarm(0)
        if read is not None:
            jails[name] = read
    return {"error": None, "jails": jails}


for line in sys.stdin:
    print(json.dumps(directory(line.rstrip("\n"))), flush=True)
