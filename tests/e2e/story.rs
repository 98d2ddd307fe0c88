//! The story that `make demo` tells, sentence by sentence, as a test.

use bannkreis_tests::failed::Result;
use bannkreis_tests::story::{hosts, tell};

use crate::inside::in_lab;

#[test]
fn every_sentence_of_the_demonstration_holds() -> Result<()> {
    in_lab(
        "story::every_sentence_of_the_demonstration_holds",
        |_| hosts(&[]),
        |lab| {
            tell(lab, &mut std::io::stdout())
                .map_err(|broken| broken.reason.while_doing(&broken.sentence.to_string()))
        },
    )
}
