//! Options whose values are a part of a whole.

use super::super::error::Problem;
use super::super::ratio::Ratio;
use super::super::value;
use super::super::variables::Text;
use super::kind::{Kind, Or, Parse};
use super::table::Shape;

/// A part of a whole.
#[derive(Clone, Copy)]
pub struct AnyRatio;

/// A part of a whole, with a default.
pub const fn ratio(default: Ratio) -> Or<AnyRatio> {
    Or { kind: AnyRatio, default }
}

impl Kind for AnyRatio {
    fn shape(&self) -> Shape {
        Shape::Ratio
    }
}

impl Parse for AnyRatio {
    type Value = Ratio;

    fn parse(&self, text: &Text) -> Result<Ratio, Problem> {
        value::ratio(text)
    }

    fn write(&self, value: Ratio) -> String {
        value.to_string()
    }
}
