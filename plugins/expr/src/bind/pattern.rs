//! `like` and `ilike`.

use sqlparser::ast::Expr;

use super::operator::start;
use super::{Binder, Bound, What, folded, truth};
use crate::like::{IgnoreCase, Pattern};
use crate::node::{Const, Node};
use crate::refused::{Refused, refuse};
use crate::table::Operator;
use crate::types::Type;

impl Binder<'_> {
    pub(super) fn like(
        &mut self,
        text: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        ignore_case: bool,
        negated: bool,
    ) -> Bound {
        let at = self.parsed.operator(text);
        let arg = self.arg(text)?;
        let pattern_arg = self.arg(pattern)?;
        let (what, c) = (arg.described(), arg.is_c() && arg.of() != Some(Type::Name) || pattern_arg.is_c());
        let (text, of) = self.resolve(arg, Type::Text)?;
        let operator = if ignore_case { Operator::ILike } else { Operator::Like };
        self.allow(at, operator, of, true, &what)?;
        let written = match pattern_arg.what {
            What::Unknown(None) => None,
            What::Unknown(Some(text)) => Some(text),
            What::Typed { node: Node::Const(Const::Bytes(text)), of: Type::Text, .. } => String::from_utf8(text).ok(),
            What::Typed { node: Node::Const(Const::Null), .. } => None,
            What::Typed { .. } => return refuse(start(pattern), "the pattern must be a text in quotes"),
        };
        let escape = self.escape(escape)?;
        let (Some(written), Some(escape)) = (written, escape) else {
            return truth(at, Node::Const(Const::Null));
        };
        if ignore_case && !c && (!written.is_ascii() || escape.is_some_and(char::is_alphabetic)) {
            let why = "beyond it, case depends on the database's locale";
            return refuse(start(pattern), format!("ilike is there for patterns in ASCII only: {why}"));
        }
        let folded_pattern = if ignore_case { written.to_ascii_lowercase() } else { written };
        let compiled = Pattern::new(&folded_pattern, escape)
            .map_err(|_| Refused::at(start(pattern), "the pattern ends with its escape character"))?;
        let text = Box::new(text);
        let node = match ignore_case {
            true => Node::LikeIgnoreCase { text, pattern: IgnoreCase::new(compiled), c },
            false => Node::Like { text, pattern: compiled },
        };
        let node = folded(node, at);
        truth(at, if negated { Node::Not(Box::new(node)) } else { node })
    }

    /// The escape character, or that there is none; nothing where it is null.
    fn escape(&mut self, escape: Option<&Expr>) -> Result<Option<Option<char>>, Refused> {
        let Some(escape) = escape else { return Ok(Some(Some('\\'))) };
        match self.arg(escape)?.what {
            What::Unknown(None) => Ok(None),
            What::Unknown(Some(text)) if text.chars().count() <= 1 => Ok(Some(text.chars().next())),
            _ => refuse(start(escape), "the escape must be one character in quotes, or none"),
        }
    }
}
