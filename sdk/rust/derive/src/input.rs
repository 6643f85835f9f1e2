//! A struct or enum, as far as it is looked at: its name, its one lifetime, its fields.

use proc_macro::{Delimiter, TokenStream, TokenTree};

#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// `'a`, where there is one.
    pub(crate) lifetime: Option<String>,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Fields(Vec<Field>),
    /// An enum's variants, none of which has fields.
    Names(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// What the column or setting is called.
    pub(crate) column: String,
    /// The type, as it was written.
    pub(crate) of: String,
    /// The expression of a default.
    pub(crate) default: Option<String>,
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<TokenTree>>;

impl Input {
    pub(crate) fn parse(item: TokenStream) -> Result<Input, String> {
        let mut tokens = peekable(item);
        skip_attributes(&mut tokens)?;
        skip_visibility(&mut tokens);
        let kind = ident(&mut tokens)?;
        let name = ident(&mut tokens)?;
        let lifetime = lifetime(&mut tokens)?;
        let body = match tokens.next() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group.stream(),
            _ => return Err(format!("`{name}` needs named fields, in braces")),
        };
        let body = match kind.as_str() {
            "struct" => Body::Fields(fields(body)?),
            "enum" => Body::Names(names(body)?),
            _ => return Err(format!("`{name}` is neither a struct nor an enum")),
        };
        Ok(Input { name, lifetime, body })
    }
}

fn peekable(stream: TokenStream) -> Tokens {
    stream.into_iter().collect::<Vec<_>>().into_iter().peekable()
}

fn is(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn ident(tokens: &mut Tokens) -> Result<String, String> {
    match tokens.next() {
        Some(TokenTree::Ident(ident)) => Ok(ident.to_string()),
        other => Err(format!("a name is expected here: {other:?}")),
    }
}

fn skip_visibility(tokens: &mut Tokens) {
    if matches!(tokens.peek(), Some(TokenTree::Ident(ident)) if ident.to_string() == "pub") {
        tokens.next();
        tokens.next_if(|token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis));
    }
}

fn lifetime(tokens: &mut Tokens) -> Result<Option<String>, String> {
    if !is(tokens.peek(), '<') {
        return Ok(None);
    }
    tokens.next();
    let inner: Vec<String> = tokens.take_while(|token| !is(Some(token), '>')).map(|token| token.to_string()).collect();
    match inner.as_slice() {
        [quote, name] if quote == "'" => Ok(Some(format!("'{name}"))),
        _ => Err("one lifetime at most, and no other parameter".to_owned()),
    }
}

/// What attributes of a field say: the name of its column, its default.
#[derive(Default)]
struct Said {
    column: Option<String>,
    default: Option<String>,
}

fn skip_attributes(tokens: &mut Tokens) -> Result<Said, String> {
    let mut said = Said::default();
    while is(tokens.peek(), '#') {
        tokens.next();
        let Some(TokenTree::Group(attribute)) = tokens.next() else { return Err("an attribute is cut off".to_owned()) };
        let mut inner = peekable(attribute.stream());
        let name = inner.next().map(|token| token.to_string()).unwrap_or_default();
        let Some(TokenTree::Group(arguments)) = inner.next() else { continue };
        let mut arguments = peekable(arguments.stream());
        match name.as_str() {
            "column" => said.column = Some(text(arguments.next())?),
            "config" => said.default = Some(default(&mut arguments)?),
            _ => {}
        }
    }
    Ok(said)
}

/// `"first name"`.
fn text(token: Option<TokenTree>) -> Result<String, String> {
    let literal = token.map(|token| token.to_string()).unwrap_or_default();
    let inner = literal.strip_prefix('"').and_then(|literal| literal.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(inner.to_owned()),
        _ => Err("`column` takes a text without escapes, as in #[column(\"first name\")]".to_owned()),
    }
}

/// `default` or `default = EXPRESSION`.
fn default(tokens: &mut Tokens) -> Result<String, String> {
    match tokens.next().map(|token| token.to_string()).as_deref() {
        Some("default") if tokens.peek().is_none() => Ok("::core::default::Default::default()".to_owned()),
        Some("default") if is(tokens.peek(), '=') => Ok(tokens.skip(1).collect::<TokenStream>().to_string()),
        _ => Err("`config` takes `default` or `default = …`".to_owned()),
    }
}

fn fields(body: TokenStream) -> Result<Vec<Field>, String> {
    let mut tokens = peekable(body);
    let mut fields = Vec::new();
    while tokens.peek().is_some() {
        let said = skip_attributes(&mut tokens)?;
        skip_visibility(&mut tokens);
        let name = ident(&mut tokens)?;
        if !is(tokens.next().as_ref(), ':') {
            return Err(format!("`{name}` has no type"));
        }
        let plain = name.strip_prefix("r#").unwrap_or(&name).to_owned();
        let of = until_comma(&mut tokens);
        fields.push(Field { name, column: said.column.unwrap_or(plain), of, default: said.default });
    }
    Ok(fields)
}

/// A type up to the comma that ends its field; commas between angle brackets belong to it.
fn until_comma(tokens: &mut Tokens) -> String {
    let (mut depth, mut of) = (0, Vec::new());
    for token in tokens.by_ref() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' => depth -= 1,
            TokenTree::Punct(punct) if punct.as_char() == ',' && depth == 0 => break,
            _ => {}
        }
        of.push(token);
    }
    of.into_iter().collect::<TokenStream>().to_string()
}

fn names(body: TokenStream) -> Result<Vec<String>, String> {
    let mut tokens = peekable(body);
    let mut names = Vec::new();
    while tokens.peek().is_some() {
        skip_attributes(&mut tokens)?;
        let name = ident(&mut tokens)?;
        if tokens.next().is_some_and(|token| !is(Some(&token), ',')) {
            return Err(format!("`{name}` has fields: a choice is a name alone"));
        }
        names.push(name);
    }
    Ok(names)
}
