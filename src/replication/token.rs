//! A token: a point in a history, as clients carry it from a primary to its replicas (WAITTOKEN, WAITFOR).
//!
//! As text it is the history's name and, behind a colon, how far each stream had come: `8371...:17,0,4`. To a client it
//! is opaque. Positions are `raw` (see `replication`), so they mean the same on whatever follows that history, however
//! many shards it has and however many replicas lie between.
//!
//! Not here: who takes one, and who waits for it (`host::persist::waits`, `host::replication::tokens`).

use super::history::{parse_positions, write_positions, History, Positions, ReplId};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The history.
    pub id: ReplId,
    /// How far each of its streams had come.
    pub at: Positions,
}

impl Token {
    /// Reads one.
    pub fn parse(text: &[u8]) -> Option<Token> {
        let (id, rest) = text.split_at_checked(ReplId::LEN)?;
        Some(Token { id: ReplId::parse(id)?, at: parse_positions(rest.strip_prefix(b":")?)? })
    }

    /// Whether the data of this history, of so many streams, has or will have what the token names: it was taken in
    /// that history, or in the one before up to where that is the same. `elder` is where the history before ended on
    /// the primary, if this node is a replica and was told: by itself it knows only how far it had come.
    pub fn is_of(&self, history: &History, elder: Option<&Token>, streams: usize) -> bool {
        let is_before = |end: &Token| {
            end.id == self.id && self.at.len() == streams && super::replicas::reaches(&end.at, &self.at)
        };
        history.can_resume(self.id, &self.at, streams).is_ok() || elder.is_some_and(is_before)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.id, write_positions(&self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn token(id: ReplId, at: &[u64]) -> Token {
        Token { id, at: Positions::from_slice(at) }
    }

    #[test]
    fn tokens_are_written_and_read() {
        let token = token(ReplId::random(&mut Prng::new(1)), &[17, 0, i64::MAX as u64]);
        let text = token.to_string();
        assert_eq!(Token::parse(text.as_bytes()), Some(token));
        for len in 0..ReplId::LEN + 2 {
            assert_eq!(Token::parse(&text.as_bytes()[..len]), None, "{len}");
        }
        for bad in ["x", " 1", ":", ":1,", ":-1", ":9223372036854775808"] {
            assert_eq!(Token::parse(format!("{}{bad}", &text[..ReplId::LEN]).as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn those_of_the_history_and_of_the_one_before_up_to_its_end_are_known() {
        let mut prng = Prng::new(2);
        let mut history = History::new(&mut prng);
        let (first, other) = (history.id, ReplId::random(&mut prng));
        assert!(token(first, &[500, 7]).is_of(&history, None, 2));
        assert!(!token(first, &[5]).is_of(&history, None, 2));
        assert!(!token(other, &[5, 7]).is_of(&history, None, 2));
        history.shift(Positions::from_slice(&[50, 70]), 120, &mut prng);
        assert!(token(first, &[50, 70]).is_of(&history, None, 2));
        assert!(!token(first, &[51, 0]).is_of(&history, None, 2));
        // Its primary had come further.
        let elder = token(first, &[60, 70]);
        assert!(token(first, &[51, 0]).is_of(&history, Some(&elder), 2));
        assert!(!token(first, &[51, 71]).is_of(&history, Some(&elder), 2));
        assert!(!token(first, &[51]).is_of(&history, Some(&elder), 2));
        assert!(!token(other, &[1, 1]).is_of(&history, Some(&elder), 2));
    }
}
