//! How the API says no: [`Status`].

use serde::{Deserialize, Serialize};

/// Kubernetes' `Status` object: what every failed request answers, and the success of one without an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `Success` or `Failure`.
    pub status: String,
    /// A sentence for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// One CamelCase word for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the failure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// What is rarely there.
    #[serde(skip)]
    pub beside: Option<Box<Beside>>,
    /// The HTTP status code; 0 where the answer does not repeat it.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

/// What few answers carry, and none in its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Where an expired list can go on, though not as it was.
    pub continue_token: String,
    /// What the client is warned of.
    pub warnings: Vec<String>,
    /// What the audit log is told, by key.
    pub audit: Vec<(String, String)>,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The kind, or the plural resource name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The single complaints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// One complaint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `FieldValueRequired`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field, `spec.containers[0].image`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Default for Status {
    fn default() -> Self {
        Status {
            status: "Failure".into(),
            message: String::new(),
            reason: String::new(),
            details: None,
            beside: None,
            code: 500,
        }
    }
}

/// `deployments.apps`, or `pods` in the legacy group.
fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Failures, one constructor for each reason, in Kubernetes' words.
impl Status {
    fn failure(code: u16, reason: &str, message: String, details: Option<Details>) -> Status {
        Status { message, reason: reason.into(), details: details.map(Box::new), code, ..Status::default() }
    }

    fn about(group: &str, kind: &str, name: &str) -> Details {
        Details { name: name.into(), group: group.into(), kind: kind.into(), ..Details::default() }
    }

    /// 501: nothing is passed through to what listens in the cluster.
    pub fn not_proxied() -> Status {
        let message = "nothing is proxied here; `kubectl port-forward` reaches a pod or a service";
        Status::failure(501, "NotImplemented", message.into(), Some(Details::default()))
    }

    /// 404: there is no such object. `plural` may carry a subresource.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", qualified(plural, group));
        Status::failure(404, "NotFound", message, Some(Status::about(group, plural, name)))
    }

    /// 404: nothing is served at this path.
    pub fn no_resource() -> Status {
        let message = "the server could not find the requested resource";
        Status::failure(404, "NotFound", message.into(), Some(Details::default()))
    }

    /// 409: the name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", qualified(plural, group));
        Status::failure(409, "AlreadyExists", message, Some(Status::about(group, plural, name)))
    }

    /// 409: a precondition does not hold.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(plural, group));
        Status::failure(409, "Conflict", message, Some(Status::about(group, plural, name)))
    }

    /// 409: the object is not at the `resourceVersion` that the client has seen.
    pub fn stale(group: &str, plural: &str, name: &str) -> Status {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(group, plural, name, why)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(400, "BadRequest", message.into(), None)
    }

    /// 405: this cannot be done with this resource.
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::failure(405, "MethodNotAllowed", message.into(), Some(Details::default()))
    }

    /// 403: refused by authorisation or admission.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let resource = qualified(plural, group);
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            name => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Status::failure(403, "Forbidden", message, Some(Status::about(group, plural, name)))
    }

    /// 403: a path that is no resource, refused by authorisation.
    pub fn forbidden_path(why: &str) -> Status {
        Status::failure(403, "Forbidden", format!("forbidden: {why}"), Some(Details::default()))
    }

    /// 422: the object breaks its kind's rules.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
        let mut shown: Vec<String> = Vec::new();
        for cause in &causes {
            let text = format!("{}: {}", cause.field, cause.message);
            // Said once is enough for people.
            if !shown.contains(&text) {
                shown.push(text);
            }
        }
        let all = if shown.len() == 1 { shown.concat() } else { format!("[{}]", shown.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {all}", qualified(kind, group));
        let details = Details { causes, ..Status::about(group, kind, name) };
        Status::failure(422, "Invalid", message, Some(details))
    }

    /// 422: a patch that cannot be applied.
    pub fn unprocessable(message: impl Into<String>) -> Status {
        Status::failure(422, "Invalid", message.into(), Some(Details::default()))
    }

    /// 410: the revision is gone; list again.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, "Expired", message.into(), None)
    }

    /// 504: the revision does not exist yet.
    pub fn future_revision(asked: &str, current: u64) -> Status {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let details = Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() };
        Status::failure(504, "Timeout", message, Some(details))
    }

    /// 429: not now; `causes` say what stands in the way.
    pub fn too_many_requests(
        message: impl Into<String>,
        retry_after_seconds: u32,
        causes: Vec<Cause>,
    ) -> Status {
        let retry = (retry_after_seconds > 0).then_some(retry_after_seconds);
        let details = Details { causes, retry_after_seconds: retry, ..Details::default() };
        Status::failure(429, "TooManyRequests", message.into(), Some(details))
    }

    /// 401: who asks is not known.
    pub fn unauthorized() -> Status {
        Status::failure(401, "Unauthorized", "Unauthorized".into(), None)
    }

    /// 415: a body in an encoding that is not understood.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::failure(415, "UnsupportedMediaType", message, None)
    }

    /// 406: an answer is wanted in a form that is not offered.
    pub fn not_acceptable(offered: &[&str]) -> Status {
        let message = format!("only the following media types are accepted: {}", offered.join(", "));
        Status::failure(406, "NotAcceptable", message, None)
    }

    /// 406: the path answers in none of the media types that are asked for.
    pub fn no_representation(available: &[&str]) -> Status {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", available.join(", "));
        Status::failure(406, "NotAcceptable", message, Some(Details::default()))
    }

    /// 415: the path takes no bodies of this media type.
    pub fn unsupported_media() -> Status {
        let message = "415: Unsupported Media Type".to_owned();
        Status::failure(415, "UnsupportedMediaType", message, Some(Details::default()))
    }

    /// 406: metadata is asked for in the form of a list, or the other way round.
    pub fn wrong_metadata_form(asked: &str, list: bool, go_type: &str) -> Status {
        let what = if list { "is a list" } else { "is not a list" };
        let message = format!("you requested {asked}, but the requested object {what} (*{go_type})");
        Status::failure(406, "NotAcceptable", message, None)
    }

    /// 413: the body is too large.
    pub fn too_large(message: impl Into<String>) -> Status {
        Status::failure(413, "RequestEntityTooLarge", message.into(), None)
    }

    /// 503: the store is away.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::failure(503, "ServiceUnavailable", message.into(), None)
    }

    /// 500, as Kubernetes says it where its error was never meant for clients.
    pub fn plain(message: impl Into<String>) -> Status {
        Status::failure(500, "", message.into(), None)
    }

    /// 500: something that should not happen did.
    pub fn internal(why: &str) -> Status {
        let cause = Cause { message: why.into(), ..Cause::default() };
        let details = Details { causes: vec![cause], ..Details::default() };
        Status::failure(500, "InternalError", format!("Internal error occurred: {why}"), Some(details))
    }

    /// A success without an object.
    pub fn success(code: u16, details: Option<Details>) -> Status {
        Status { status: "Success".into(), details: details.map(Box::new), code, ..Status::default() }
    }

    /// Whether this is a success.
    pub fn is_success(&self) -> bool {
        self.status == "Success"
    }

    /// What it carries besides, made where there is nothing yet.
    pub fn beside_mut(&mut self) -> &mut Beside {
        self.beside.get_or_insert_default()
    }

    /// The object as clients see it.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            kind: &'static str,
            api_version: &'static str,
            metadata: serde_json::Map<String, serde_json::Value>,
            #[serde(flatten)]
            status: &'a Status,
        }
        let mut metadata = serde_json::Map::new();
        if let Some(token) = self.beside.as_ref().map(|b| b.continue_token.as_str()).filter(|t| !t.is_empty())
        {
            metadata.insert("continue".into(), token.into());
        }
        let wire = Wire { kind: "Status", api_version: "v1", metadata, status: self };
        serde_json::to_vec(&wire).expect("a Status has nothing that JSON cannot say")
    }
}

impl Cause {
    /// A value that is not allowed, as JSON, and why.
    pub fn invalid(field: &str, value: &serde_json::Value, why: &str) -> Cause {
        Cause {
            reason: "FieldValueInvalid".into(),
            message: format!("Invalid value: {value}: {why}"),
            field: field.into(),
        }
    }

    /// A value that must be there.
    pub fn required(field: &str, why: &str) -> Cause {
        let message = if why.is_empty() { "Required value".into() } else { format!("Required value: {why}") };
        Cause { reason: "FieldValueRequired".into(), message, field: field.into() }
    }

    /// A value that may not be set.
    pub fn forbidden(field: &str, why: &str) -> Cause {
        Cause {
            reason: "FieldValueForbidden".into(),
            message: format!("Forbidden: {why}"),
            field: field.into(),
        }
    }

    /// A value that is none of the known ones.
    pub fn unsupported(field: &str, value: &serde_json::Value, supported: &[&str]) -> Cause {
        let quoted: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", quoted.join(", "));
        Cause { reason: "FieldValueNotSupported".into(), message, field: field.into() }
    }

    /// A text that is longer than `most` bytes.
    pub fn too_long(field: &str, most: usize) -> Cause {
        Cause {
            reason: "FieldValueTooLong".into(),
            message: format!("Too long: may not be more than {most} bytes"),
            field: field.into(),
        }
    }
}

impl From<Status> for orlop_core::Failure {
    fn from(status: Status) -> orlop_core::Failure {
        use orlop_core::FailureReason::{AlreadyExists, Conflict, NotFound, Refused, Unavailable};
        let reason = match (status.code, status.reason.as_str()) {
            (404, _) => NotFound,
            (409, "AlreadyExists") => AlreadyExists,
            (409, _) => Conflict,
            (408 | 429 | 500..=599, _) => Unavailable,
            _ => Refused,
        };
        orlop_core::Failure { reason, message: status.message }
    }
}
