//! Paths of fields of sessions, as grants name them.

use super::error::Problem;
use super::variables::Text;
use crate::dialect::Dialect;
use crate::grant::FieldPath;

/// The path of a field of the dialect's sessions: `device.last_ip`. `None` is an unknown dialect.
pub(super) fn field_path(_dialect: Option<&Dialect>, text: &Text) -> Result<FieldPath, Problem> {
    let path: FieldPath = text.as_str().split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        let problem = Problem::new(format!("{} is not a field", text.shown()));
        return Err(problem.expected("expected the path of a field, such as `device.last_ip`"));
    }
    Ok(path)
}
