//! The members of requests that name what to revoke.

/// The members that such a request may have.
#[derive(Debug)]
pub struct RevocationBody {
    /// The known members, all optional.
    pub members: &'static [RevocationMember],
    /// Exactly one of these is required. If empty, the body is optional.
    pub one_of: &'static [&'static str],
}

/// A member of such a request.
#[derive(Debug)]
pub struct RevocationMember {
    /// The member's name.
    pub name: &'static str,
    /// The type of its value.
    pub member_type: MemberType,
    /// Other members that are required with it.
    pub requires: &'static [&'static str],
}

/// The type of a member's value.
#[derive(Debug, Clone, Copy)]
pub enum MemberType {
    /// A session ID.
    Session,
    /// A user ID.
    User,
    /// A boolean.
    Boolean,
    /// A string of at most this many characters.
    Text(usize),
    /// An array of refresh token IDs.
    RefreshTokens {
        /// The maximum number of IDs.
        most: usize,
        /// The maximum length of an ID, in characters.
        length: usize,
    },
}
