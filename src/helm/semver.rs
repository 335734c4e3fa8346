//! Versions and constraints as Masterminds/semver reads them: partial versions, `v` prefixes, wildcards, hyphen ranges,
//! `||`, and pre-releases only where a constraint names one.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;
use std::sync::LazyLock;

use regex::Regex;

const MAX_LEN: usize = 256;
const MAX_CONSTRAINT_LEN: usize = 512;
const MAX_GROUPS: usize = 32;

/// A text that is no version or constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SemverError {
    #[error("invalid semantic version")]
    Version,
    #[error("version string is too long (max {MAX_LEN} bytes)")]
    VersionTooLong,
    #[error("version segment starts with 0")]
    LeadingZero,
    #[error("improper constraint: {0:?}")]
    Constraint(String),
    #[error("constraint string is too long (max {MAX_CONSTRAINT_LEN} bytes)")]
    ConstraintTooLong,
    #[error("too many constraint groups (max {MAX_GROUPS})")]
    TooManyGroups,
    #[error("constraint parser error")]
    ConstraintVersion,
}

/// A semantic version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    pub(crate) prerelease: Rc<str>,
    pub(crate) metadata: Rc<str>,
    pub(crate) original: Rc<str>,
}

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

impl Version {
    /// Reads `1`, `v1.2` or `1.2.3-rc.1+build`.
    pub fn parse(text: &str) -> Result<Self, SemverError> {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
            const WORDS: &str = r"[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*";
            regex(&format!(
                r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-({WORDS}))?(?:\+({WORDS}))?$"
            ))
        });
        if text.len() > MAX_LEN {
            return Err(SemverError::VersionTooLong);
        }
        let parts = PATTERN
            .as_ref()
            .and_then(|pattern| pattern.captures(text))
            .ok_or(SemverError::Version)?;
        let part = |n: usize| parts.get(n).map_or("", |part| part.as_str());
        let number = |n: usize| match part(n) {
            "" => Ok(0),
            digits => digits.parse().map_err(|_| SemverError::Version),
        };
        // Leading zeros are taken in the numbers, not in a pre-release.
        let is_padded = |word: &str| {
            word.len() > 1
                && word.starts_with('0')
                && word.bytes().all(|byte| byte.is_ascii_digit())
        };
        if part(4).split('.').any(is_padded) {
            return Err(SemverError::LeadingZero);
        }
        Ok(Self {
            major: number(1)?,
            minor: number(2)?,
            patch: number(3)?,
            prerelease: part(4).into(),
            metadata: part(5).into(),
            original: text.into(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.prerelease.is_empty() {
            write!(f, "-{}", self.prerelease)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

impl Version {
    /// Precedence; build metadata does not count.
    pub fn precedence(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| compare_prerelease(&self.prerelease, &other.prerelease))
    }
}

fn compare_prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.parse::<u64>(), y.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => x.cmp(y),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

#[derive(Clone, Debug)]
struct Term {
    operator: Operator,
    version: Version,
    /// A part is missing or a wildcard.
    dirty: bool,
    minor_dirty: bool,
    patch_dirty: bool,
}

/// Alternatives of terms that all must hold.
#[derive(Clone, Debug)]
pub struct Constraint {
    groups: Vec<(Vec<Term>, bool)>,
}

const PARTIAL: &str = r"v?([0-9|x|X|\*]+)(\.[0-9|x|X|\*]+)?(\.[0-9|x|X|\*]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?";
const OPERATORS: &str = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";

impl Constraint {
    /// Reads `>=1.20-0 <2 || ^3.1`.
    pub fn parse(text: &str) -> Result<Self, SemverError> {
        static RANGE: LazyLock<Option<Regex>> =
            LazyLock::new(|| regex(&format!(r"\s*({PARTIAL})\s+-\s+({PARTIAL})\s*")));
        static VALID: LazyLock<Option<Regex>> = LazyLock::new(|| {
            regex(&format!(
                r"^(\s*({OPERATORS})\s*({PARTIAL})\s*)((?:\s+|,\s*)({OPERATORS})\s*({PARTIAL})\s*)*$"
            ))
        });
        static TERM: LazyLock<Option<Regex>> =
            LazyLock::new(|| regex(&format!(r"({OPERATORS})\s*({PARTIAL})")));
        let (Some(range), Some(valid), Some(term)) = (&*RANGE, &*VALID, &*TERM) else {
            return Err(SemverError::Constraint(text.to_owned()));
        };
        if text.len() > MAX_CONSTRAINT_LEN {
            return Err(SemverError::ConstraintTooLong);
        }
        let text = range.replace_all(text, |found: &regex::Captures<'_>| {
            format!(">= {}, <= {} ", &found[1], &found[11])
        });
        let alternatives: Vec<&str> = text.split("||").collect();
        if alternatives.len() > MAX_GROUPS {
            return Err(SemverError::TooManyGroups);
        }
        let mut groups = Vec::with_capacity(alternatives.len());
        for alternative in alternatives {
            if !valid.is_match(alternative) {
                return Err(SemverError::Constraint(alternative.to_owned()));
            }
            let terms = term
                .find_iter(alternative)
                .map(|found| parse_term(found.as_str()))
                .collect::<Result<Vec<_>, _>>()?;
            let prerelease = terms.iter().any(|term| !term.version.prerelease.is_empty());
            groups.push((terms, prerelease));
        }
        Ok(Self { groups })
    }

    /// Whether a version satisfies the constraint.
    pub fn matches(&self, version: &Version) -> bool {
        self.groups.iter().any(|(terms, prerelease)| {
            (version.prerelease.is_empty() || *prerelease)
                && terms.iter().all(|term| term.matches(version))
        })
    }
}

fn parse_term(text: &str) -> Result<Term, SemverError> {
    static PATTERN: LazyLock<Option<Regex>> =
        LazyLock::new(|| regex(&format!(r"^\s*({OPERATORS})\s*({PARTIAL})\s*$")));
    let parts = PATTERN
        .as_ref()
        .and_then(|pattern| pattern.captures(text))
        .ok_or_else(|| SemverError::Constraint(text.to_owned()))?;
    let part = |n: usize| parts.get(n).map_or("", |part| part.as_str());
    let operator = match part(1) {
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" | "=>" => Operator::GreaterEqual,
        "<=" | "=<" => Operator::LessEqual,
        "~" | "~>" => Operator::Tilde,
        "^" => Operator::Caret,
        _ => Operator::Equal,
    };
    let open = |n: usize| matches!(part(n).trim_start_matches('.'), "" | "x" | "X" | "*");
    let (major, minor, prerelease) = (part(3), part(4), part(6));
    let (version, dirty, minor_dirty, patch_dirty) = if open(3) {
        (format!("0.0.0{prerelease}"), true, false, false)
    } else if open(4) {
        (format!("{major}.0.0{prerelease}"), true, true, false)
    } else if open(5) {
        (format!("{major}{minor}.0{prerelease}"), true, false, true)
    } else {
        (part(2).to_owned(), false, false, false)
    };
    let version = Version::parse(&version).map_err(|_| SemverError::ConstraintVersion)?;
    Ok(Term { operator, version, dirty, minor_dirty, patch_dirty })
}

impl Term {
    fn matches(&self, version: &Version) -> bool {
        let own = &self.version;
        let order = version.precedence(own);
        match self.operator {
            Operator::Equal if self.dirty => self.tilde(version),
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => self.differs(version),
            Operator::Greater => match version.major.cmp(&own.major) {
                _ if !self.dirty => order == Ordering::Greater,
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal if self.minor_dirty => false,
                Ordering::Equal if self.patch_dirty => version.minor > own.minor,
                Ordering::Equal => order == Ordering::Greater,
            },
            Operator::Less => order == Ordering::Less,
            Operator::GreaterEqual => order != Ordering::Less,
            Operator::LessEqual if !self.dirty => order != Ordering::Greater,
            Operator::LessEqual => {
                version.major < own.major
                    || (version.major == own.major
                        && (version.minor <= own.minor || self.minor_dirty))
            }
            Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
        }
    }

    fn differs(&self, version: &Version) -> bool {
        let own = &self.version;
        if !self.dirty {
            return version.precedence(own) != Ordering::Equal;
        }
        if own.major != version.major || (own.minor != version.minor && !self.minor_dirty) {
            return true;
        }
        if self.minor_dirty {
            return false;
        }
        if own.patch != version.patch && !self.patch_dirty {
            return true;
        }
        if self.patch_dirty {
            return compare_prerelease(&version.prerelease, &own.prerelease) != Ordering::Equal;
        }
        version.precedence(own) != Ordering::Equal
    }

    fn tilde(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.precedence(own) == Ordering::Less {
            return false;
        }
        let any = (own.major, own.minor, own.patch) == (0, 0, 0);
        if any && !self.minor_dirty && !self.patch_dirty {
            return true;
        }
        version.major == own.major && (version.minor == own.minor || self.minor_dirty)
    }

    fn caret(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.precedence(own) == Ordering::Less {
            return false;
        }
        if own.major > 0 || self.minor_dirty {
            return version.major == own.major;
        }
        if version.major > 0 {
            return false;
        }
        if own.minor > 0 || self.patch_dirty {
            return version.minor == own.minor;
        }
        version.minor == 0 && version.patch == own.patch
    }
}
