//! Which cluster a pod belongs to, by the Lease: every pod starts as a cluster of one that works, the one that
//! creates the Lease stays, and the others join its cluster (docs/decisions/0016).
//!
//! Not for what the Lease says to whom (`kubernetes`), nor for the join itself (`app.rs`).

use crate::app::Lives;
use crate::config::NodeConfig;
use crate::kubernetes::{ApiServer, Lease, LeaseName, Own, Verdict, judge};
use std::sync::Arc;
use std::time::Duration;

/// Pause before the Lease is looked at again.
const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// Pause after somebody else has changed it at the same moment.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);

/// Does what the Lease says until this node belongs to the cluster that is named there, and is named there itself.
/// Without an API server the node goes on alone, as it would anyway.
pub(crate) async fn follow(lives: Arc<Lives>, name: LeaseName) {
    loop {
        let pause = match step(&lives, &name).await {
            Ok(Next::Done) => return lives.set_not_joined(None),
            Ok(Next::LookAgain) => CONFLICT_PAUSE,
            Err(why) => {
                lives
                    .set_not_joined(Some(format!("kubernetes.lease = \"{name}\": {why}; it is tried again")));
                LOOK_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

enum Next {
    Done,
    LookAgain,
}

async fn step(lives: &Arc<Lives>, name: &LeaseName) -> Result<Next, String> {
    let api = api_server(lives.config())?;
    let running = lives.current();
    let own = Own {
        address: lives.config().advertised(),
        cluster: running.raft.cluster_id().to_string(),
        is_alone: running.raft.is_alone(),
    };
    drop(running);
    let lease = name.get(&api).await?;
    match judge(lease.as_ref(), &own) {
        Verdict::Create => {
            if name.create(&api, &own).await? {
                tracing::info!("the Lease {name} names this node's cluster, {}: others join it", own.cluster);
            }
            Ok(Next::LookAgain)
        }
        Verdict::Stay => Ok(Next::Done),
        Verdict::Replace(wanted) => {
            let is_anew = lease.is_some_and(|lease| lease.cluster != wanted.cluster);
            if name.replace(&api, &wanted).await? && is_anew {
                tracing::warn!(
                    "the Lease {name} named this node with a cluster that it has lost before anybody joined it; now it \
                     names {}",
                    own.cluster
                );
            }
            Ok(Next::LookAgain)
        }
        Verdict::Join(addresses) => match lease {
            Some(lease) => join(lives, &lease, &addresses).await,
            None => Ok(Next::LookAgain),
        },
        Verdict::Foreign(why) => Err(why),
    }
}

/// Joins by the first that is a member of the cluster and lets this node in.
async fn join(lives: &Arc<Lives>, lease: &Lease, addresses: &[String]) -> Result<Next, String> {
    let mut whys = Vec::new();
    for address in addresses {
        // A task of its own: this one may be aborted, a join must not be.
        let (lives, to, cluster) = (lives.clone(), address.clone(), lease.cluster.clone());
        let joining = tokio::spawn(async move { lives.join_configured(&to, Some(&cluster)).await });
        match joining.await.unwrap_or_else(|error| Err(error.to_string())) {
            // It looks again, to see that it belongs there.
            Ok(()) => return Ok(Next::LookAgain),
            Err(why) => whys.push(format!("{address}: {why}")),
        }
    }
    Err(format!(
        "the cluster {} that it names lets this node in by none of its members ({}). This node works alone until one \
         does. If that cluster is gone for good, delete the Lease",
        lease.cluster,
        whys.join("; ")
    ))
}

fn api_server(config: &NodeConfig) -> Result<ApiServer, String> {
    let kubernetes = &config.kubernetes;
    let address =
        kubernetes.server.clone().or_else(|| ApiServer::address_in(&|name| std::env::var(name).ok()));
    let address = address.ok_or(
        "there is no API server in the environment (KUBERNETES_SERVICE_HOST): run in a pod, or set kubernetes.server",
    )?;
    Ok(ApiServer { address, ca: kubernetes.ca.clone(), token_file: kubernetes.token_file.clone() })
}
