//! `token create|list|revoke`: what is said of tokens, and what is not.

use super::made_up::{Fate, MadeUp, NOW, root};
use crate::control::tokens;
use bannkreis_proto::v1;
use tonic::Code;

#[tokio::test]
async fn a_token_is_shown_once_listed_without_it_and_taken_back_by_its_first_digits() {
    let (api, root) = (MadeUp::new(), root());
    let create = |ttl_ms| tokens::create(&api, &root, v1::CreateTokenRequest { ttl_ms });
    let first = create(0).await.unwrap();
    assert_eq!((first.token.as_str(), first.address.as_str()), ("bkt1_1", "kopano:7420"));
    let status = first.status.unwrap();
    assert_eq!(status, v1::TokenStatus { id: "01".repeat(32), expires_ms: NOW.plus_ms(3_600_000).0 });
    let second = create(2_000).await.unwrap();
    assert!(create(999).await.unwrap_err().message().contains("from 1 s to 30 days"));

    let listed = tokens::list(&api).await.unwrap().tokens;
    assert_eq!(listed, [second.status.unwrap(), status.clone()]);

    let revoke = |id: &str| tokens::revoke(&api, &root, v1::RevokeTokenRequest { id: id.to_owned() });
    assert!(revoke("0").await.unwrap_err().message().contains("more than one"));
    assert!(revoke("").await.unwrap_err().message().contains("no token has the id"));
    assert!(revoke("ff").await.unwrap_err().message().contains("token list"));
    assert_eq!(revoke("010").await.unwrap().status, Some(status.clone()));
    assert_eq!(revoke("0101").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_token_whose_fate_is_unknown_is_shown_all_the_same() {
    let root = root();
    let request = v1::CreateTokenRequest { ttl_ms: 0 };
    let (silent, leaderless) =
        (MadeUp::new().fated(&[Fate::LostUnheard; 60]), MadeUp::new().fated(&[Fate::NoLeader; 60]));
    let (made, refused) =
        tokio::join!(tokens::create(&silent, &root, request), tokens::create(&leaderless, &root, request));
    let made = made.unwrap();
    assert_eq!((made.token.as_str(), made.outcome()), ("bkt1_1", v1::CommandOutcome::Unknown));
    assert!(!made.why.is_empty());
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition, "this one surely does not count");
}
