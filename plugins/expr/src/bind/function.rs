//! Functions.

use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned};

use super::cast::cast_node;
use super::{Arg, Binder, Bound, typed};
use crate::node::Node;
use crate::parse::THERE;
use crate::refused::{Refused, nearest, refuse};
use crate::table::Operator;
use crate::types::{Type, common_of_list};

impl Binder<'_> {
    pub(super) fn function(&mut self, function: &Function) -> Bound {
        let at = function.name.span().start;
        let name = function.name.to_string().to_ascii_lowercase();
        let is_plain = function.filter.is_none() && function.over.is_none() && function.within_group.is_empty();
        let args = match &function.args {
            FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
                &list.args
            }
            FunctionArguments::None => {
                return refuse(at, format!("`{name}` stands for a value of the session, which a plugin does not know"));
            }
            _ => return refuse(at, format!("`{name}` is written as {name}(…) here")),
        };
        let args: Option<Vec<&Expr>> = args.iter().map(plain).collect();
        let (Some(args), true) = (args, is_plain) else {
            return refuse(at, format!("`{name}` is written as {name}(…) here"));
        };
        match (name.trim_start_matches("pg_catalog."), args.as_slice()) {
            ("coalesce", [_, ..]) => self.coalesce(function, &args),
            ("lower", [text]) => self.case(function, text, false),
            ("upper", [text]) => self.case(function, text, true),
            ("length" | "char_length" | "character_length", [text]) => self.length(function, text),
            ("coalesce" | "lower" | "upper" | "length" | "char_length" | "character_length", _) => {
                refuse(at, format!("`{name}` has another number of arguments"))
            }
            _ => {
                let known = ["coalesce", "lower", "upper", "length", "char_length"];
                let hint = nearest(&name, known.into_iter()).map(|known| format!(": did you mean `{known}`?"));
                refuse(at, format!("the function `{name}` is not there{}; {THERE}", hint.unwrap_or_default()))
            }
        }
    }

    fn coalesce(&mut self, function: &Function, args: &[&Expr]) -> Bound {
        let at = function.name.span().start;
        let args: Vec<Arg> = args.iter().map(|arg| self.arg(arg)).collect::<Result<_, Refused>>()?;
        let c = args.iter().any(Arg::is_c);
        let known: Vec<Type> = args.iter().filter_map(Arg::of).collect();
        let of = match known.split_first() {
            None => Type::Text,
            Some((first, rest)) => match rest.iter().try_fold(*first, |of, next| common_of_list(of, *next)) {
                Some(of) => of,
                None => {
                    return refuse(at, "the arguments of coalesce are of types that have none in common: cast them");
                }
            },
        };
        self.allow(at, Operator::Coalesce, of, c, of.name())?;
        let parts = args.into_iter().map(|arg| self.coerced(arg, of)).collect::<Result<_, _>>()?;
        Ok(typed(at, Node::Coalesce(parts), of).with_c(c))
    }

    fn case(&mut self, function: &Function, text: &Expr, upper: bool) -> Bound {
        let at = function.name.span().start;
        let arg = self.arg(text)?;
        let (c, what) = (arg.is_c(), arg.described());
        let (node, of) = self.resolve(arg, Type::Text)?;
        self.allow(at, if upper { Operator::Upper } else { Operator::Lower }, of, c, &what)?;
        let inner = Box::new(cast_node(at, node, of, Type::Text));
        // The cast of a name leaves its collation behind.
        let c = c && of != Type::Name;
        Ok(typed(at, Node::Case { upper, c, inner }, Type::Text).with_c(c))
    }

    fn length(&mut self, function: &Function, text: &Expr) -> Bound {
        let at = function.name.span().start;
        let arg = self.arg(text)?;
        let what = arg.described();
        let (node, of) = self.resolve(arg, Type::Text)?;
        self.allow(at, Operator::Length, of, true, &what)?;
        let bytes = of == Type::Bytea;
        let inner = Box::new(if bytes { node } else { cast_node(at, node, of, Type::Text) });
        Ok(typed(at, Node::Length { bytes, inner }, Type::Int4))
    }
}

fn plain(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}
