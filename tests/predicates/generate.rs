//! Predicates out of the table's cells.

use tidemill_expr::Type;
use tidemill_expr::table::{Cell, Operator, TYPES, cell};

use super::columns::{COLUMNS, pool};
use super::quoted;

/// A generator of numbers that gives the same ones for a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    pub(crate) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A predicate, and the cells that it is a case of.
pub(crate) struct Made {
    pub(crate) sql: String,
    pub(crate) cells: Vec<(Operator, &'static str)>,
}

/// One that puts this cell to the test, often inside others.
pub(crate) fn predicate(random: &mut Random, operator: Operator, of: Type, c: bool) -> Made {
    let name = TYPES.iter().find(|(is, _)| *is == of).expect("a type of the table").1;
    let sql = focus(random, operator, of, c);
    let sql = match random.below(9) {
        0 => format!("not {sql}"),
        1 => format!("not ({sql})"),
        2 => format!("({sql}) is {}{}", random.pick(&["", "not "]), random.pick(&["true", "false", "unknown", "null"])),
        3 => format!("{sql} and {}", simple(random)),
        4 => format!("{} or {sql}", simple(random)),
        5 => format!("{} and ({sql}) or not {}", simple(random), simple(random)),
        6 => format!("coalesce({sql}, {})", random.pick(&["b1", "true", "null", "b2"])),
        _ => sql,
    };
    Made { sql, cells: vec![(operator, name)] }
}

/// A predicate that can go beside another.
fn simple(random: &mut Random) -> String {
    match random.below(6) {
        0 => "b1".to_owned(),
        1 => format!("i1 {} {}", comparison(random), random.pick(pool(Type::Int4))),
        2 => "x1 is null".to_owned(),
        3 => format!("10 / i2 {} 3", comparison(random)),
        4 => format!("n1 {} n2", comparison(random)),
        _ => "x1 like '%b%'".to_owned(),
    }
}

fn comparison(random: &mut Random) -> &'static str {
    random.pick(&["=", "<>", "<", "<=", ">", ">=", "!="])
}

fn columns(of: Type) -> Vec<&'static str> {
    COLUMNS.iter().filter(|column| column.of == of).map(|column| column.name).collect()
}

fn column(random: &mut Random, of: Type) -> &'static str {
    random.pick(&columns(of))
}

fn literal(random: &mut Random, of: Type) -> String {
    let text = random.pick(pool(of));
    // A negative one is not always read as a number with a sign.
    let is_number = of.is_number() && text.bytes().all(|byte| byte.is_ascii_digit() || b".-e".contains(&byte));
    match random.below(4) {
        0 if is_number => text.to_owned(),
        1 if !matches!(of, Type::Bpchar) => format!("{}::{}", quoted(text), of.name()),
        2 if of == Type::Bool => random.pick(&["true", "false"]).to_owned(),
        _ => quoted(text),
    }
}

/// Another value that goes with one of this type.
fn operand(random: &mut Random, of: Type) -> String {
    match random.below(8) {
        0..3 => column(random, of).to_owned(),
        3 if of.is_number() => {
            let other =
                [Type::Int2, Type::Int4, Type::Int8, Type::Numeric, Type::Float4, Type::Float8][random.below(6)];
            column(random, other).to_owned()
        }
        3 if of == Type::Text => column(random, Type::Bpchar).to_owned(),
        3 if of == Type::Oid => {
            let whole = [Type::Int2, Type::Int4, Type::Int8][random.below(3)];
            column(random, whole).to_owned()
        }
        4 if of.is_number() => {
            random.pick(&["0", "1", "-1", "0.5", "3", "10", "2147483648", "1e3", "- 7", "0.1"]).to_owned()
        }
        5 if of == Type::Text => format!("lower({})", column(random, Type::Text)),
        5 if of == Type::Int4 => format!("length({})", column(random, Type::Text)),
        6 if random.one_in(3) => "null".to_owned(),
        _ => literal(random, of),
    }
}

fn focus(random: &mut Random, operator: Operator, of: Type, c: bool) -> String {
    let x = if of == Type::Array { random.pick(&["ai", "ax", "an"]) } else { column(random, of) };
    let collate = if c { " collate \"C\"" } else { "" };
    let not = random.pick(&["", "not "]);
    match operator {
        Operator::Equal => {
            let y = operand(random, of);
            format!("{x} {} {y}", random.pick(&["=", "<>", "!="]))
        }
        Operator::Order => {
            let y = operand(random, of);
            let op = random.pick(&["<", "<=", ">", ">="]);
            if random.one_in(3) { format!("{y} {op} {x}{collate}") } else { format!("{x}{collate} {op} {y}") }
        }
        Operator::In => {
            let count = 1 + random.below(4);
            let list: Vec<_> = (0..count).map(|_| operand(random, of)).collect();
            format!("{x} {not}in ({})", list.join(", "))
        }
        Operator::Between => {
            let (low, high) = (operand(random, of), operand(random, of));
            format!("{x}{collate} {not}between {}{low} and {high}", random.pick(&["", "symmetric "]))
        }
        Operator::Distinct => format!("{x} is {not}distinct from {}", operand(random, of)),
        Operator::Null => format!("{x} is {not}null"),
        Operator::Truth => truth(random, x),
        Operator::Like | Operator::ILike => like(random, operator, x),
        Operator::Add => sum(random, "+", x, of),
        Operator::Subtract => sum(random, "-", x, of),
        Operator::Multiply => sum(random, "*", x, of),
        Operator::Divide => sum(random, "/", x, of),
        Operator::Modulo => sum(random, "%", x, of),
        Operator::Negate => format!("- {x} {} {}", comparison(random), operand(random, of)),
        Operator::Any => any(random, x, of),
        Operator::Get | Operator::GetText => get(random, operator, x),
        Operator::Coalesce => {
            let mut goes_with = || loop {
                let y = operand(random, of);
                // What text and char(n) have in common hangs on which of Postgres' names for text it is.
                if !y.starts_with('c') {
                    break y;
                }
            };
            let (y, z) = (goes_with(), goes_with());
            let op =
                if cell(Operator::Order, of) == Cell::Yes { comparison(random) } else { random.pick(&["=", "<>"]) };
            format!("coalesce({x}, {y}) {op} {z}")
        }
        Operator::Lower | Operator::Upper => {
            let name = if operator == Operator::Lower { "lower" } else { "upper" };
            let collate = if random.one_in(3) { " collate \"C\"" } else { "" };
            format!("{name}({x}{collate}) {} {}", random.pick(&["=", "<>"]), literal(random, Type::Text))
        }
        Operator::Length => format!("length({x}) {} {}", comparison(random), random.pick(&["0", "1", "3", "5", "8"])),
        Operator::Join => format!(
            "{x} || {} {} {}",
            joined(random),
            random.pick(&["=", "<>", "like"]),
            quoted(random.pick(&["aa", "%1%", "10x", "%b", "abcx"]))
        ),
        Operator::ToText => format!(
            "{x}::text {} {}",
            random.pick(&["=", "like"]),
            quoted(random.pick(&["1", "%0%", "true", "a%", "%-%"]))
        ),
        Operator::ToInt => cast(random, x, &["int2", "int4", "int8"], of),
        Operator::ToNumeric => {
            format!("{x}::numeric::text like {}", quoted(random.pick(&["%0%", "%1", "1%", "%.%", "%5%"])))
        }
        Operator::ToFloat => cast(random, x, &["float4", "float8"], of),
        Operator::ToBool => format!("{x}::bool {}", random.pick(&["", "= b1", "is not true"])),
        Operator::ToUuid => format!("{x}::uuid {} {}", comparison(random), literal(random, Type::Uuid)),
    }
}

fn truth(random: &mut Random, x: &str) -> String {
    let (y, z) = (simple(random), simple(random));
    match random.below(6) {
        0 => format!("{x} and {y} or {z}"),
        1 => format!("not {x} or {y} and not {z}"),
        2 => format!("{x} is {}", random.pick(&["true", "not true", "false", "not false", "unknown", "not unknown"])),
        3 => format!("({x} or {y}) and ({z} or not b2)"),
        4 => format!("({y}) = {x}"),
        _ => x.to_owned(),
    }
}

fn like(random: &mut Random, operator: Operator, x: &str) -> String {
    let word = if operator == Operator::Like { "like" } else { "ilike" };
    let pattern = random.pick(&[
        "%",
        "a%",
        "%b%",
        "_",
        "a_c",
        "%C",
        "",
        "abc",
        "a\\%b",
        "%o w%",
        "A%",
        "__%",
        "%a  ",
        "1%0",
        "h%o w_rld",
    ]);
    match random.below(5) {
        0 => format!("{x} not {word} {}", quoted(pattern)),
        1 => format!("{x} {word} {} escape '!'", quoted(&pattern.replace('\\', "!"))),
        2 if operator == Operator::ILike => format!("{x} collate \"C\" {word} {}", quoted(pattern)),
        _ => format!("{x} {word} {}", quoted(pattern)),
    }
}

fn sum(random: &mut Random, op: &str, x: &str, of: Type) -> String {
    let y = loop {
        let y = operand(random, of);
        // There is no rest of floats.
        if op != "%" || !["r1", "r2", "d1", "d2"].contains(&y.as_str()) {
            break y;
        }
    };
    let whole = if random.one_in(3) { format!("{y} {op} {x}") } else { format!("{x} {op} {y}") };
    let is_float = of.is_float() || ["r1", "r2", "d1", "d2"].contains(&y.as_str());
    match random.below(4) {
        0 if !is_float => format!("({whole})::text like {}", quoted(random.pick(&["%3%", "%1", "-%", "%.%0%", "%7%"]))),
        1 => format!("{whole} {} {}", comparison(random), column(random, of)),
        2 => format!("{} {} {whole}", random.pick(&["0", "1", "-2", "10"]), comparison(random)),
        _ => format!("{whole} {} {}", comparison(random), random.pick(&["0", "1", "0.5", "-3", "100", "1000000"])),
    }
}

fn any(random: &mut Random, x: &str, of: Type) -> String {
    let array = match of {
        Type::Bool => "ab",
        Type::Int2 | Type::Int4 => random.pick(&["ai", "al"]),
        Type::Int8 => random.pick(&["al", "ai", "an"]),
        Type::Numeric => random.pick(&["an", "ai", "al"]),
        Type::Uuid => "au",
        _ => "ax",
    };
    // No plugin knows which numbers an element can be.
    let is_read = !matches!(of, Type::Numeric | Type::Int8);
    let value = if random.one_in(3) && is_read { literal(random, of) } else { x.to_owned() };
    format!("{value} = any({array})")
}

fn get(random: &mut Random, operator: Operator, x: &str) -> String {
    let key = random.pick(&["'a'", "'b'", "'c'", "0", "1", "-1", "'zz'", "7", "i1", "x1"]);
    if operator == Operator::GetText {
        return match random.below(4) {
            0 => format!("{x} ->> {key} is null"),
            1 => format!("({x} ->> {key})::int > 0"),
            2 => format!("{x} -> 'a' ->> {key} like '%'"),
            _ => format!("{x} ->> {key} = {}", random.pick(&["'1'", "'x'", "'a'", "'[2, 3]'"])),
        };
    }
    match random.below(3) {
        0 => format!("{x} -> {key} is null"),
        1 => format!("({x} -> {key})::text like '%1%'"),
        _ => format!("{x} -> {key} -> {} is not null", random.pick(&["'a'", "0", "'b'", "-1"])),
    }
}

fn joined(random: &mut Random) -> String {
    match random.below(3) {
        0 => quoted(random.pick(&["a", "x", ""])),
        1 => column(random, Type::Text).to_owned(),
        _ => format!("'x' || {}", column(random, Type::Text)),
    }
}

fn cast(random: &mut Random, x: &str, to: &[&str], of: Type) -> String {
    // Postgres casts booleans to int4 only.
    let to = if of == Type::Bool { "int4" } else { random.pick(to) };
    format!("{x}::{to} {} {}", comparison(random), random.pick(&["0", "1", "10", "-1", "32767", "0.1"]))
}
