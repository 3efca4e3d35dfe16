//! Tokens listed in a file: `token,user,uid,"group1,group2"`.

use std::collections::BTreeMap;

use orlop_api::User;
use orlop_api::auth::{Authenticator, ISSUER};
use orlop_core::store::View;
use orlop_core::{Name, Timestamp};

use super::TokenAuthenticator;

/// The tokens of a `--token-auth-file`.
#[derive(Clone, Debug, Default)]
pub struct TokenFile(BTreeMap<String, User>);

/// A line of a token file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {problem}; a line is token,user,uid and, in quotes, the groups: secret,alice,1,\"dev,ops\""
)]
pub struct InvalidTokenFile {
    line: usize,
    problem: &'static str,
}

impl TokenFile {
    /// Reads the text of a token file. Empty lines and lines that begin with `#` do not count.
    ///
    /// # Errors
    /// Names the line.
    pub fn parse(text: &str) -> Result<TokenFile, InvalidTokenFile> {
        let mut users = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let problem = |problem| InvalidTokenFile { line: at + 1, problem };
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let fields = fields(line).ok_or(problem("a quote is not closed"))?;
            let [token, name, uid, groups @ ..] = fields.as_slice() else {
                return Err(problem("fewer than three columns"));
            };
            if token.is_empty() || name.is_empty() {
                return Err(problem("token or user is empty"));
            }
            let groups = groups
                .iter()
                .flat_map(|g| g.split(','))
                .map(str::trim)
                .filter(|g| !g.is_empty())
                .map(Name::from);
            let user =
                User { name: name.into(), uid: uid.into(), groups: groups.collect(), extra: Vec::new() };
            users.insert(token.clone(), user);
        }
        Ok(TokenFile(users))
    }

    /// Adds a token.
    pub fn insert(&mut self, token: impl Into<String>, user: User) {
        self.0.insert(token.into(), user);
    }
}

impl TokenAuthenticator for TokenFile {
    fn user(&self, token: &str) -> Option<User> {
        self.0.get(token).cloned()
    }
}

/// Static tokens are for the API server; TokenReviews can ask for them.
impl Authenticator for TokenFile {
    fn authenticate(
        &self,
        token: &str,
        audiences: &[Name],
        _view: &dyn View,
        _now: Timestamp,
    ) -> Result<Option<(User, Vec<Name>)>, String> {
        let own: Vec<Name> = audiences.iter().filter(|name| *name == ISSUER).cloned().collect();
        let fits = audiences.is_empty() || !own.is_empty();
        Ok(self.0.get(token).filter(|_| fits).map(|user| (user.clone(), own)))
    }
}

/// The columns of a line of comma-separated values; `None` if a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                out.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => out.last_mut()?.push(c),
        }
    }
    (!quoted).then(|| out.into_iter().map(|field| field.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_users_and_groups() {
        let file = TokenFile::parse("# comment\n\nt1,alice,u1,\"dev,ops\"\nt2,bob,\n").unwrap();
        let alice = file.user("t1").unwrap();
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "u1"));
        assert_eq!(alice.groups, ["dev", "ops"]);
        assert_eq!(file.user("t2").unwrap().groups, Vec::<Name>::new());
        assert!(file.user("t3").is_none());
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        assert!(
            TokenFile::parse("a,b,c\nx,y")
                .unwrap_err()
                .to_string()
                .starts_with("line 2: fewer than three columns")
        );
        assert!(TokenFile::parse("a,b,c,\"d").unwrap_err().to_string().contains("quote"));
    }
}
