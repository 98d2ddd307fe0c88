//! The way into a cluster, as far as it leads before this node gives up its own: who is asked, what is shown, and
//! what comes of it. Until then nothing has changed but files that nobody reads.
//!
//! Not for the change itself (`joining`, `app`), nor for the member's side of it (`wire::admission`).

use crate::admissions::{Admissions, Leaving};
use crate::config::NodeConfig;
use crate::joining;
use crate::pki::keyring::{self, Signed};
use crate::pki::{JoinToken, Keyring, PkiError};
use crate::running::Running;
use crate::security;
use crate::wire::{Applicant, Knock, NotLetIn, Security, Tls, ask_to_be_let_in};
use bannkreis_raft::{Connect, Identity, JoinInfo, join_info};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A cluster that can not let anybody in at the moment (an election, two nodes that join each other) is asked
/// again for so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause in between.
const PAUSE: Duration = Duration::from_millis(300);

/// What a node needs to be a member elsewhere.
pub struct WayIn<'a> {
    /// The cluster.
    pub info: JoinInfo,
    /// Who this node is there.
    pub identity: Identity,
    /// Nobody is let in here while this lives.
    pub leaving: Leaving<'a>,
}

/// Finds the way from `solo` into the cluster that `host_port` belongs to; `wanted`: only if it is that one.
///
/// # Errors
/// A sentence with cause and remedy; this node goes on as it was.
pub async fn find<'a>(
    solo: &Running,
    config: &NodeConfig,
    admissions: &'a Admissions,
    host_port: &str,
    token: Option<&JoinToken>,
    wanted: Option<&str>,
) -> Result<WayIn<'a>, String> {
    let own_tls = own_tls(&solo.security);
    let connect: Arc<dyn Connect> = match (own_tls, token) {
        (Some(_), Some(token)) => Arc::new(Knock { authority: token.authority }),
        (Some(_), None) => {
            return Err(
                "a token is needed: `bannkreis token create` on a member of that cluster makes one, and \
                        `bannkreis cluster join HOST:PORT --token TOKEN` uses it"
                    .to_owned(),
            );
        }
        (None, _) => security::connect(&solo.security),
    };
    let info = join_info(&*connect, host_port).await.map_err(|error| error.to_string())?;
    if let Some(wanted) = wanted.filter(|wanted| info.cluster.to_string() != **wanted) {
        return Err(format!(
            "{host_port} belongs to the cluster {}, not to {wanted}: `bannkreis cluster status` there shows it; name a host of the \
             other one",
            info.cluster
        ));
    }
    solo.raft.may_join(&info).map_err(|error| error.to_string())?;
    let leaving = admissions.leave_for(info.cluster)?;
    let dir = config.state_dir.clone();
    let identity = on_files(move || joining::applicant(&dir, &info)).await?;
    let applicant = Applicant {
        secret: token.map(|token| token.secret().to_vec()).unwrap_or_default(),
        node: identity.node,
        name: config.name.clone(),
        request: match own_tls {
            Some(tls) => certificate_request(tls).await?,
            None => Vec::new(),
        },
        from_cluster: solo.raft.cluster_id(),
        address: config.advertised(),
        former: None,
    };
    let signed = ask(&*connect, host_port, &applicant).await?;
    leaving.check()?;
    if own_tls.is_some() {
        let dir = config.state_dir.clone();
        let adopt = move || keyring::adopt(&dir, info.cluster, info.generation, &signed);
        on_files(move || adopt().map_err(|PkiError(why)| why)).await?;
    }
    Ok(WayIn { info, identity, leaving })
}

fn own_tls(security: &Security) -> Option<&Tls> {
    match security {
        Security::Tls(tls) if tls.keyring().is_own() => Some(tls),
        _ => None,
    }
}

async fn certificate_request(tls: &Tls) -> Result<Vec<u8>, String> {
    let made = security::on_keyring(tls, Keyring::request).await;
    made.map(Option::unwrap_or_default).map_err(|PkiError(why)| why)
}

async fn ask(connect: &dyn Connect, host_port: &str, applicant: &Applicant) -> Result<Signed, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask_to_be_let_in(connect, host_port, applicant).await {
            Ok(signed) => return Ok(signed),
            Err(NotLetIn::Refused(why)) => return Err(why),
            Err(NotLetIn::NotNow(why)) if Instant::now() + PAUSE >= deadline => return Err(why),
            Err(NotLetIn::NotNow(_)) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn on_files<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}
