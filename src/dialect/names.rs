//! The names of fields in a provider's messages: JSON members, or fields of its message schemas.

use crate::model::CheckKind;

/// The names of fields in a provider's messages. `None` for what the provider does not have.
#[derive(Debug)]
pub struct Names {
    /// In a response to a read: the field that contains the session. `None` if the whole response is the session.
    pub session: Option<&'static str>,
    /// In a session: its ID.
    pub id: &'static str,
    /// In requests and sessions: the metadata. Routes may override it.
    pub metadata: Option<&'static str>,
    /// In a session: the times at which it expires.
    pub expiries: &'static [&'static str],
    /// In a session: its version.
    pub version: Option<Version>,
    /// In a response to a write: the field that contains the version. `None` if the whole response is the session.
    pub write_details: Option<&'static str>,
    /// In a session, and in a refresh token: the path to the ID of its user.
    pub user: &'static [&'static str],
    /// In a refresh token: the ID of its session.
    pub token_session: Option<&'static str>,
    /// In a response: the list of sessions.
    pub sessions: Option<&'static str>,
    /// In a response: the list of refresh tokens, in one of these.
    pub refresh_tokens: &'static [&'static str],
    /// In a response with the list: the paths of its totals, which count more than the list has.
    pub totals: &'static [&'static [&'static str]],
    /// In a response with the list: the cursors of the next page.
    pub cursors: &'static [&'static str],
    /// In a query: the ID of the user whose sessions or refresh tokens are listed.
    pub user_parameter: Option<&'static str>,
    /// In a query: the parameters by which a list is filtered, each with the path of the field that it compares.
    pub search_parameters: &'static [(&'static str, &'static [&'static str])],
    /// In a request for the list: the filters.
    pub filters: Option<Filters>,
    /// In a request: the session's ID.
    pub session_id: Option<&'static str>,
    /// In a request: the session's token.
    pub session_token: Option<&'static str>,
    /// In a request: the session's lifetime.
    pub lifetime: Option<&'static str>,
    /// In a request: the checks.
    pub checks: Option<Checks>,
    /// In requests and responses: the challenges.
    pub challenges: Option<Challenges>,
    /// In an error: the path of the member that identifies it, such as a text or a code.
    pub error: &'static [&'static str],
    /// In an error: the members that say what went wrong.
    pub error_members: &'static [&'static str],
}

/// What the rules of a policy are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySubject {
    /// Metadata of sessions.
    Metadata,
    /// Lifetimes.
    Lifetime,
    /// Session tokens.
    SessionToken,
    /// Checks.
    Checks,
    /// Challenges.
    Challenges,
}

impl Names {
    /// Whether the provider has what a rule is about. If not, the rule has no effect.
    pub fn has(&self, subject: PolicySubject) -> bool {
        match subject {
            PolicySubject::Metadata => self.metadata.is_some(),
            PolicySubject::Lifetime => self.lifetime.is_some(),
            PolicySubject::SessionToken => self.session_token.is_some(),
            PolicySubject::Checks => self.checks.is_some(),
            PolicySubject::Challenges => self.challenges.is_some(),
        }
    }
}

/// The version of a session.
#[derive(Debug, Clone, Copy)]
pub enum Version {
    /// A field with the time of the last change (RFC 3339).
    Time(&'static str),
    /// A field with a number that grows with each change.
    Number(&'static str),
}

/// The filters of a list: each session in it fulfils all of them.
#[derive(Debug)]
pub struct Filters {
    /// The field of a request that contains them.
    pub field: &'static str,
    /// The filter by user.
    pub user: &'static str,
    /// There: the ID of the user.
    pub user_id: &'static str,
    /// All filters, each with the path of the field of a session that it compares: empty for what no session shows.
    pub fields: &'static [(&'static str, &'static [&'static str])],
    /// The field of a request that says by what the list is sorted; 0 leaves it to the provider.
    pub sorting: &'static str,
    /// Its values, each with the path of the field of a session.
    pub columns: &'static [(i32, &'static [&'static str])],
}

/// The checks of a write.
#[derive(Debug)]
pub struct Checks {
    /// The field of a request that contains them.
    pub field: &'static str,
    /// The check of the user.
    pub user: &'static str,
    /// There: the ID of the user, if the check names the user by it.
    pub user_id: &'static str,
    /// The field of each kind.
    pub kinds: &'static [(&'static str, CheckKind)],
}

/// The challenges of a write, and their one-time codes in its response.
#[derive(Debug)]
pub struct Challenges {
    /// The field of requests and responses that contains them.
    pub field: &'static str,
    /// WebAuthN.
    pub web_auth_n: &'static str,
    /// A one-time code by SMS.
    pub otp_sms: &'static str,
    /// A one-time code by email.
    pub otp_email: &'static str,
    /// In a one-time code: whether to return the code.
    pub return_code: &'static str,
    /// In a one-time code by email: how to send the code.
    pub send_code: &'static str,
    /// There: the link template.
    pub url_template: &'static str,
}
