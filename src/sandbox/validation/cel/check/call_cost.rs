//! What calls of functions cost at most: those of cel-go's standard library and extensions, and Kubernetes' own.

use kube_cel::cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::cost::{Entries, Range};
use super::declared::Declared;
use super::path::Path;
use super::types::Type;

/// For each character that is passed.
pub(super) const PASSED: f64 = 0.1;
/// For each character of a pattern, which is one expression in four.
const PATTERN: f64 = 0.25;
const CALL: Range = Range { min: 1, max: 1 };

/// What is known of an argument, or of the object of a method.
pub(super) struct Argument<'a> {
    pub(super) path: Path,
    pub(super) kind: Type,
    pub(super) node: Option<&'a IdedExpr>,
    pub(super) size: Option<Range>,
    pub(super) entries: Option<Entries>,
}

impl Argument<'_> {
    pub(super) fn size_or_unknown(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }

    fn int(&self) -> Option<i64> {
        match self.node.map(|node| &node.expr) {
            Some(Expr::Literal(LiteralValue::Int(number))) => Some(*number.inner()),
            _ => None,
        }
    }

    /// A constant number that is not negative.
    fn number_or(&self, otherwise: u64) -> u64 {
        self.int().map_or(otherwise, |number| u64::try_from(number).unwrap_or_default())
    }
}

/// The size that a schema allows what a path leads to.
pub(super) fn declared_size(root: &Declared, path: &Path) -> Option<Range> {
    let max = path.find(root)?.max_elements;
    Some(Range { min: 0, max: u64::try_from(max).unwrap_or(u64::MAX) })
}

type Estimate = Option<(Range, Option<Range>)>;

/// The functions that Kubernetes and the extensions have estimates of their own for.
pub(super) fn known(
    root: &Declared,
    name: &str,
    id: &str,
    target: Option<&Argument<'_>>,
    args: &[Argument<'_>],
) -> Estimate {
    let known = Known { root };
    known.extension(id, target, args).or_else(|| known.kubernetes(name, id, target, args))
}

struct Known<'a> {
    root: &'a Declared,
}

impl Known<'_> {
    fn size(&self, argument: &Argument<'_>) -> Range {
        argument.size.or_else(|| declared_size(self.root, &argument.path)).unwrap_or(Range::UNKNOWN)
    }

    /// cel-go's sets and lists.
    fn extension(
        &self,
        id: &str,
        target: Option<&Argument<'_>>,
        args: &[Argument<'_>],
    ) -> Estimate {
        let makes = |factor: f64, size: Range| {
            Some((size.scaled(factor).plus(Range::fixed(11)), Some(size)))
        };
        let square = |list: &Argument<'_>, factor: f64| {
            let size = self.size(list);
            makes(factor, size.times(size))
        };
        match (id, target, args) {
            ("sets" | "sets_twice", None, [a, b]) => {
                let factor = if id == "sets" { 1.0 } else { 2.0 };
                Some((self.size(a).times(self.size(b)).scaled(factor).plus(CALL), None))
            }
            ("slice", Some(list), [start, end]) => {
                let end = end.number_or(self.size(list).max);
                makes(1.0, Range::fixed(end.wrapping_sub(start.number_or(0))))
            }
            ("range", None, [n]) => makes(1.0, Range::fixed(n.number_or(u64::MAX))),
            ("reverse", Some(list), []) => makes(1.0, self.size(list)),
            ("flatten", Some(list), depth) => {
                let depth = depth.first().map_or(1, |depth| depth.number_or(u64::MAX));
                makes(depth as f64, self.size(list))
            }
            ("distinct" | "sort", Some(list), []) => square(list, 2.0),
            ("sort_text", Some(list), []) => square(list, 2.0 + PASSED),
            ("sort_by", Some(_), [keys]) => square(keys, 2.0),
            ("sort_by_text", Some(_), [keys]) => square(keys, 2.0 + PASSED),
            _ => None,
        }
    }

    fn kubernetes(
        &self,
        name: &str,
        id: &str,
        target: Option<&Argument<'_>>,
        args: &[Argument<'_>],
    ) -> Estimate {
        let passed = |argument: &Argument<'_>| self.size(argument).scaled(PASSED);
        let cost = |cost: Range| Some((cost, None));
        match (name, target, args) {
            ("check", ..) => cost(Range::fixed(350_000)),
            (
                "serviceAccount"
                | "path"
                | "group"
                | "resource"
                | "subresource"
                | "namespace"
                | "name"
                | "allowed"
                | "reason"
                | "error"
                | "errored"
                | "masked"
                | "prefixLength"
                | "family"
                | "isUnspecified"
                | "isLoopback"
                | "isLinkLocalMulticast"
                | "isLinkLocalUnicast"
                | "isGlobalUnicast"
                | "format.named"
                | "sign"
                | "asInteger"
                | "isInteger"
                | "asApproximateFloat"
                | "isGreaterThan"
                | "isLessThan"
                | "compareTo"
                | "add"
                | "sub"
                | "major"
                | "minor"
                | "patch"
                | "getScheme"
                | "getHostname"
                | "getHost"
                | "getPort"
                | "getEscapedPath"
                | "getQuery",
                ..,
            ) => cost(CALL),
            ("fieldSelector" | "labelSelector", _, [selector]) => {
                let requirements = self.size(selector).scaled(0.5).scaled(50.0);
                cost(Range::fixed(10).plus(passed(selector)).plus(requirements))
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(list), _) => {
                cost(match self.element(list) {
                    Some(element) => {
                        let is_text = matches!(element.kind, Type::String | Type::Bytes);
                        let more = if is_text { passed(&element) } else { Range::default() };
                        self.size(list).times(CALL.plus(more))
                    }
                    None => passed(list),
                })
            }
            ("url" | "jsonpatch.escapeKey", _, [text]) => {
                Some((passed(text), Some(self.size(text))))
            }
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
                Some((passed(text), Some(self.size(text))))
            }
            ("replace", Some(text), [from, to, ..]) => {
                let size = self.size(text);
                let replaced = replaced(size, self.size(from), self.size(to));
                Some((size.scaled(2.0 * PASSED), Some(replaced)))
            }
            ("split", Some(text), _) => {
                let size = self.size(text);
                let max = args.get(1).and_then(Argument::int).map_or(size.max, |max| max as u64);
                Some((size.scaled(2.0 * PASSED), Some(Range { min: 0, max })))
            }
            ("join", Some(list), _) => {
                let n_items = self.size(list);
                let mut size = self
                    .element(list)
                    .map_or_else(Range::default, |element| n_items.times(self.size(&element)));
                if let Some(separator) = args.first() {
                    let between = Range {
                        min: n_items.min.saturating_sub(1),
                        max: n_items.max.saturating_sub(1),
                    };
                    size = size.plus(self.size(separator).times(between));
                }
                Some((size.scaled(PASSED), Some(size)))
            }
            ("find" | "findAll", Some(text), [pattern, ..]) => {
                let size = self.size(text);
                let pattern = self.size(pattern).scaled(PATTERN);
                let found = Range { min: 0, max: size.max };
                Some((size.plus(CALL).scaled(PASSED).times(pattern), Some(found)))
            }
            ("ip", ..) if id == "cidr_ip" => cost(CALL),
            (
                "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver"
                | "isSemver",
                _,
                [text, ..],
            ) => cost(passed(text)),
            ("ip.isCanonical", _, [text, ..]) => cost(self.size(text).scaled(2.0 * PASSED)),
            ("containsIP" | "containsCIDR", _, [other, ..]) => {
                let bytes = Range { min: 4, max: 16 };
                let mut sum = bytes.plus(bytes).scaled(PASSED);
                if name == "containsCIDR" {
                    sum = sum.plus(bytes.scaled(PASSED)).plus(CALL);
                }
                if id == "contains_text" {
                    sum = sum.plus(passed(other));
                }
                cost(sum)
            }
            ("validate", _, [text, ..]) => cost(passed(text).scaled(128.0 * PATTERN)),
            ("_==_", _, [a, b]) => same(a, b).and_then(cost),
            _ => None,
        }
    }

    /// An element of a list, or a key of a map.
    fn element<'n>(&self, list: &Argument<'n>) -> Option<Argument<'n>> {
        let kind = (*list.kind.parts().first()?).clone();
        let path = if list.path.is_empty() { Path::default() } else { list.path.step("@items") };
        Some(Argument { path, kind, node: None, size: None, entries: None })
    }
}

/// How long a text becomes by replacing.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let times = |size: u64, each: u64| (size as f64 / each as f64).ceil() as u64;
    let (n_max, kept_max) = if from.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if to.max <= from.min {
        (0, text.max)
    } else {
        (times(text.max, from.min), 0)
    };
    let (n_min, kept_min) = if from.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if from.max <= to.min {
        (0, text.min)
    } else {
        (times(text.min, from.max), 0)
    };
    Range { min: n_min, max: n_max }.times(to).plus(Range { min: kept_min, max: kept_max })
}

/// The cost of comparing values of Kubernetes' own types.
fn same(a: &Argument<'_>, b: &Argument<'_>) -> Option<Range> {
    if a.kind != b.kind {
        return None;
    }
    match a.kind.name().as_str() {
        "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" => Some(CALL),
        "kubernetes.NamedFormat" => Some(Range { min: 1, max: 64 }.scaled(PASSED)),
        "kubernetes.URL" => {
            Some(Range { min: 1, max: b.size.map_or(1, |size| size.max) }.scaled(PASSED))
        }
        name if name.starts_with("kubernetes.authorization.") => Some(CALL),
        _ => None,
    }
}

/// The functions of the standard library whose cost depends on the arguments.
pub(super) fn standard(id: &str, target: Option<&Argument<'_>>, args: &[Argument<'_>]) -> Estimate {
    let passed = |argument: &Argument<'_>| argument.size_or_unknown().scaled(PASSED);
    match (id, target, args) {
        ("format", Some(text), _) => Some((passed(text), None)),
        ("string_to_bytes", _, [text]) => {
            let size = text.size_or_unknown();
            let bytes = Range { min: size.min, max: size.max.wrapping_mul(4) };
            Some((passed(text), Some(bytes)))
        }
        ("bytes_to_string", _, [bytes]) => {
            let size = bytes.size_or_unknown();
            Some((passed(bytes), Some(Range { min: size.min / 4, max: size.max })))
        }
        ("quote", _, [text]) => {
            let size = text.size_or_unknown();
            let quoted = Range {
                min: size.min.wrapping_add(2),
                max: size.max.wrapping_mul(2).wrapping_add(2),
            };
            Some((passed(text), Some(quoted)))
        }
        ("affix", _, [part]) => Some((passed(part), None)),
        ("in_list", _, [_, list]) => Some((list.size_or_unknown(), None)),
        ("matches", Some(text), [pattern]) => {
            let text = text.size_or_unknown().plus(CALL).scaled(PASSED);
            Some((text.times(pattern.size_or_unknown().scaled(PATTERN)), None))
        }
        ("contains", Some(text), [part]) => Some((passed(text).times(passed(part)), None)),
        ("compare", _, [a, b]) => {
            let max = a.size_or_unknown().max.min(b.size_or_unknown().max);
            Some((Range { min: max.min(1), max }.scaled(PASSED), None))
        }
        _ => None,
    }
}
