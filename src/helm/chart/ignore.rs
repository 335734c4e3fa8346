//! `.helmignore`: which files of a folder are no part of the chart.

/// The rules of a `.helmignore`, with Helm's own rule against hidden templates.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Vec<char>,
    negated: bool,
    /// Only folders match.
    folder: bool,
    /// The whole path counts, not the last name alone.
    rooted: bool,
    with_path: bool,
}

impl IgnoreRules {
    /// Reads the rules; lines that are no pattern are left out.
    pub fn parse(text: &str) -> Self {
        let mut rules: Vec<Rule> = text.lines().filter_map(Rule::parse).collect();
        rules.extend(Rule::parse("templates/.?*"));
        Self { rules }
    }

    /// Whether a path inside the chart is left out.
    pub fn ignores(&self, path: &str, is_folder: bool) -> bool {
        if path.is_empty() || path == "." || path == "./" {
            return false;
        }
        for rule in &self.rules {
            let matched = rule.matches(path);
            // A negated rule leaves out what it does not match, as Helm has it.
            if rule.negated {
                if rule.folder && !is_folder {
                    return true;
                }
                if !matched {
                    return true;
                }
                continue;
            }
            if rule.folder && !is_folder {
                continue;
            }
            if matched {
                return true;
            }
        }
        false
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.contains("**") {
            return None;
        }
        let (negated, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (folder, line) = match line.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (rooted, pattern) = match line.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let with_path = pattern.contains('/');
        Some(Self { pattern: pattern.chars().collect(), negated, folder, rooted, with_path })
    }

    fn matches(&self, path: &str) -> bool {
        let text: Vec<char> = if self.rooted || self.with_path {
            path.chars().collect()
        } else {
            path.rsplit('/').next().unwrap_or(path).chars().collect()
        };
        shell_match(&self.pattern, &text, &mut 0)
    }
}

/// Go's `filepath.Match`.
fn shell_match(pattern: &[char], text: &[char], steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > 100_000 {
        return false;
    }
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => {
            let longest = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=longest).any(|n| shell_match(rest, &text[n..], steps))
        }
        ['?', rest @ ..] => match text {
            [c, tail @ ..] if *c != '/' => shell_match(rest, tail, steps),
            _ => false,
        },
        ['[', rest @ ..] => {
            let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                return false;
            };
            let (class, rest) = (&rest[..end], &rest[end + 1..]);
            let (negated, class) = match class {
                ['^', class @ ..] => (true, class),
                class => (false, class),
            };
            let [c, tail @ ..] = text else { return false };
            let mut found = false;
            let mut at = 0;
            while at < class.len() {
                if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
                    found |= (class[at]..=class[at + 2]).contains(c);
                    at += 3;
                } else {
                    found |= class[at] == *c;
                    at += 1;
                }
            }
            found != negated && shell_match(rest, tail, steps)
        }
        ['\\', c, rest @ ..] | [c, rest @ ..] => match text {
            [found, tail @ ..] if found == c => shell_match(rest, tail, steps),
            _ => false,
        },
    }
}
