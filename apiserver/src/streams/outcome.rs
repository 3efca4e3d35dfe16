//! How a session ended, as clients are told on the `error` stream.

use orlop_api::Status;
use orlop_api::status::{Cause, Details};
use serde_json::Value;

/// The end of a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// A command has ended with this code.
    Exit(i32),
    /// There is nothing more to come of what the client was attached to.
    Over,
    /// It could not begin, or broke off.
    Failed(Box<Status>),
}

impl Outcome {
    /// The Status that the protocols from `v4` on send.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let status = match self {
            Outcome::Exit(0) | Outcome::Over => return br#"{"metadata":{},"status":"Success"}"#.to_vec(),
            Outcome::Exit(code) => exit_status(*code),
            Outcome::Failed(status) => Status::clone(status),
        };
        let Ok(Value::Object(mut object)) = serde_json::from_slice(&status.to_bytes()) else {
            return status.to_bytes();
        };
        // It is no object of the API here.
        object.shift_remove("kind");
        object.shift_remove("apiVersion");
        Value::Object(object).to_string().into_bytes()
    }

    /// The text that the protocols before `v4` send; nothing if all is well.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        match self {
            Outcome::Exit(0) | Outcome::Over => Vec::new(),
            Outcome::Exit(code) => exit_status(*code).message.into_bytes(),
            Outcome::Failed(status) => status.message.clone().into_bytes(),
        }
    }
}

fn exit_status(code: i32) -> Status {
    Status {
        status: "Failure".into(),
        message: format!(
            "command terminated with non-zero exit code: command terminated with exit code {code}"
        ),
        reason: "NonZeroExitCode".into(),
        details: Some(Box::new(Details {
            causes: vec![Cause {
                reason: "ExitCode".into(),
                message: code.to_string(),
                field: String::new(),
            }],
            ..Details::default()
        })),
        code: 0,
        ..Status::default()
    }
}
