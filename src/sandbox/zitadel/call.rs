//! Which procedure a request is for.

use super::procedures::Account;

/// A version of the session API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V2Beta,
}

/// A procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rpc {
    CreateSession,
    SetSession,
    GetSession,
    DeleteSession,
    ListSessions,
    GetUserById,
    /// Of users and organizations.
    Account(Account),
}

/// A procedure of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) rpc: Rpc,
    pub(super) version: Version,
}

impl Rpc {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreateSession => "CreateSession",
            Self::SetSession => "SetSession",
            Self::GetSession => "GetSession",
            Self::DeleteSession => "DeleteSession",
            Self::ListSessions => "ListSessions",
            Self::GetUserById => "GetUserByID",
            Self::Account(account) => account.name(),
        }
    }
}

impl Call {
    /// The procedure that a path such as `/zitadel.session.v2.SessionService/GetSession` names.
    pub(super) fn of(path: &str) -> Option<Self> {
        const SESSION: [Rpc; 5] =
            [Rpc::CreateSession, Rpc::SetSession, Rpc::GetSession, Rpc::DeleteSession, Rpc::ListSessions];
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let named = |rpcs: &[Rpc]| rpcs.iter().copied().find(|rpc| rpc.name() == method);
        let (rpc, version) = match service {
            "zitadel.session.v2.SessionService" => (named(&SESSION), Version::V2),
            "zitadel.session.v2beta.SessionService" => (named(&SESSION), Version::V2Beta),
            "zitadel.user.v2.UserService" if method == Rpc::GetUserById.name() => (Some(Rpc::GetUserById), Version::V2),
            service => (Account::of(service, method).map(Rpc::Account), Version::V2),
        };
        Some(Self { rpc: rpc?, version })
    }
}
