//! `cluster recover` is asked about before it is done, and a clock is only set when somebody says so.

use super::made_up::MadeUp;
use crate::control::recovery;
use bannkreis_proto::v1;
use bannkreis_proto::v1::recover_request::NewTime;
use tonic::Code;

#[tokio::test]
async fn a_new_life_is_told_before_it_is_begun() {
    let api = MadeUp::new();
    for (confirmed, new_time) in
        [(false, None), (false, Some(NewTime::Now(true))), (true, Some(NewTime::AtMs(1_800_000_000_000)))]
    {
        let request = v1::RecoverRequest { confirmed, force: false, new_time };
        let answer = recovery::recover(&api, request).await.unwrap();
        let life = answer.life.unwrap();
        assert_eq!((life.is_done, life.generation), (confirmed, 2));
        let told = life.consequences.iter().any(|sentence| sentence.contains("clock is set"));
        assert_eq!(told, new_time.is_some());
        assert_eq!(answer.state.unwrap().name, "kopano");
    }
}

#[tokio::test]
async fn a_backup_that_can_not_be_made_is_refused_with_the_cause() {
    let Err(refused) = recovery::backup(&MadeUp::new(), v1::BackupRequest { with_keys: false }).await else {
        panic!("there is no disk");
    };
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "there is no disk here"));
}
