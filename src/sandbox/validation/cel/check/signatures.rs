//! The functions that expressions may call: cel-go's standard library, and what kube-apiserver 1.36 adds to it.
//!
//! They are written down one signature a line and read once. Which of them the evaluator knows is its own matter.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::types::Type;

/// One way to call a function.
pub(super) struct Signature {
    /// What the cost is told by; empty if it is that of any call.
    pub(super) id: &'static str,
    pub(super) is_method: bool,
    /// Of a method the first is the object.
    pub(super) args: Vec<Type>,
    pub(super) result: Type,
    pub(super) parameters: Vec<char>,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Signature>>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Vec<Signature>> = HashMap::new();
    for line in STANDARD.lines().chain(COMPARISONS.iter().copied()).chain(KUBERNETES.lines()) {
        for (name, signature) in read(line) {
            functions.entry(name).or_default().push(signature);
        }
    }
    functions
});

/// All ways to call a function, if there is one of that name.
pub(super) fn function(name: &str) -> Option<&'static [Signature]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

/// The type that a name stands for.
pub(super) fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Meta(None),
        "null_type" | "google.protobuf.NullValue" => Type::Null,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "optional_type" => Type::Opaque("optional_type", None),
        "bool" | "bytes" | "double" | "duration" | "int" | "string" | "timestamp" | "uint"
        | "net.IP" | "net.CIDR" => simple(name)?,
        _ => return None,
    })
}

fn simple(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "duration" => Type::Duration,
        "dyn" => Type::Dyn,
        "int" => Type::Int,
        "string" => Type::String,
        "timestamp" => Type::Timestamp,
        "uint" => Type::Uint,
        "net.IP" => Type::Opaque("net.IP", None),
        "net.CIDR" => Type::Opaque("net.CIDR", None),
        "Format" => Type::object("kubernetes.NamedFormat", Vec::new()),
        "Quantity" | "Semver" | "URL" => Type::object(&format!("kubernetes.{name}"), Vec::new()),
        "Authorizer" | "Decision" | "GroupCheck" | "PathCheck" | "ResourceCheck" => {
            Type::object(&format!("kubernetes.authorization.{name}"), Vec::new())
        }
        _ => {
            let mut letters = name.chars();
            return letters.next().filter(|_| letters.next().is_none()).map(Type::Param);
        }
    })
}

/// Whether an object is one of the libraries', whose fields nobody declared.
pub(super) fn is_opaque(object: &str) -> bool {
    object.starts_with("kubernetes.authorization.")
        || ["NamedFormat", "Quantity", "Semver", "URL"]
            .iter()
            .any(|name| object.strip_prefix("kubernetes.") == Some(*name))
}

/// A line: names, the argument types in parentheses (a dot before them: a method), the type of the result, a cost.
fn read(line: &'static str) -> Vec<(&'static str, Signature)> {
    let Some((names, is_method, args, result, id)) = fields(line) else { return Vec::new() };
    names
        .split(' ')
        .filter_map(|name| {
            let args = split(args).into_iter().map(kind).collect::<Option<Vec<Type>>>()?;
            let mut parameters = Vec::new();
            args.iter().for_each(|arg| collect(arg, &mut parameters));
            let result = kind(result)?;
            collect(&result, &mut parameters);
            Some((name, Signature { id, is_method, args, result, parameters }))
        })
        .collect()
}

type Fields = (&'static str, bool, &'static str, &'static str, &'static str);

fn fields(line: &'static str) -> Option<Fields> {
    let (rest, id) = line.split_once(" #").unwrap_or((line, ""));
    let (names, rest) = rest.split_once('(')?;
    let is_method = names.ends_with('.');
    // The arguments end where their parenthesis does.
    let mut depth = 1;
    let end = rest.find(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let (args, result) = (&rest[..end], rest[end + 1..].trim());
    Some((names.trim_end_matches('.').trim(), is_method, args, result, id))
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn kind(text: &str) -> Option<Type> {
    let Some((name, inner)) = text.split_once('(') else { return simple(text) };
    let inner = split(inner.strip_suffix(')')?);
    Some(match (name, inner.as_slice()) {
        ("list", [of]) => Type::list(kind(of)?),
        ("map", [key, value]) => Type::map(kind(key)?, kind(value)?),
        ("optional", [of]) => Type::optional(kind(of)?),
        ("type", [of]) => Type::Meta(Some(Arc::new(kind(of)?))),
        _ => return None,
    })
}

fn collect(kind: &Type, parameters: &mut Vec<char>) {
    match kind {
        Type::Param(letter) if !parameters.contains(letter) => parameters.push(*letter),
        other => other.parts().into_iter().for_each(|part| collect(part, parameters)),
    }
}

const STANDARD: &str = "\
_?_:_ (bool, A, A) A #conditional
_&&_ (bool, bool) bool #logic
_||_ (bool, bool) bool #logic
!_ (bool) bool
@not_strictly_false (bool) bool
_==_ _!=_ (A, A) bool #compare
_+_ (bytes, bytes) bytes #add_text
_+_ (double, double) double
_+_ (duration, duration) duration
_+_ (duration, timestamp) timestamp
_+_ (timestamp, duration) timestamp
_+_ (int, int) int
_+_ (list(A), list(A)) list(A) #add_list
_+_ (string, string) string #add_text
_+_ (uint, uint) uint
_/_ _*_ (double, double) double
_/_ _%_ _*_ (int, int) int
_/_ _%_ _*_ (uint, uint) uint
-_ (double) double
-_ (int) int
_-_ (double, double) double
_-_ (duration, duration) duration
_-_ (int, int) int
_-_ (timestamp, duration) timestamp
_-_ (timestamp, timestamp) duration
_-_ (uint, uint) uint
_[_] (list(A), int) A #index_list
_[_] (map(A, B), A) B #index_map
@in (A, list(A)) bool #in_list
@in (A, map(A, B)) bool
size (bytes) int
size .(bytes) int
size (list(A)) int
size .(list(A)) int
size (map(A, B)) int
size .(map(A, B)) int
size (string) int
size .(string) int
type (A) type(A)
bool (bool) bool
bool (string) bool
bytes (bytes) bytes
bytes (string) bytes #string_to_bytes
double (double) double
double (int) double
double (string) double
double (uint) double
duration (duration) duration
duration (int) duration
duration (string) duration
dyn (A) dyn
int (int) int
int (double) int
int (duration) int
int (string) int
int (timestamp) int
int (uint) int
string (string) string
string (bool) string
string (bytes) string #bytes_to_string
string (double) string
string (duration) string
string (int) string
string (timestamp) string
string (uint) string
timestamp (timestamp) timestamp
timestamp (int) timestamp
timestamp (string) timestamp
uint (uint) uint
uint (double) uint
uint (int) uint
uint (string) uint
contains .(string, string) bool #contains
endsWith startsWith .(string, string) bool #affix
matches (string, string) bool
matches .(string, string) bool #matches
getFullYear getMonth getDayOfYear getDayOfMonth getDate getDayOfWeek getHours getMinutes getSeconds getMilliseconds .(timestamp) int
getFullYear getMonth getDayOfYear getDayOfMonth getDate getDayOfWeek getHours getMinutes getSeconds getMilliseconds .(timestamp, string) int
getHours getMinutes getSeconds getMilliseconds .(duration) int";

const COMPARISONS: &[&str] = &[
    "_<_ _<=_ _>_ _>=_ (bool, bool) bool",
    "_<_ _<=_ _>_ _>=_ (int, int) bool",
    "_<_ _<=_ _>_ _>=_ (int, double) bool",
    "_<_ _<=_ _>_ _>=_ (int, uint) bool",
    "_<_ _<=_ _>_ _>=_ (uint, uint) bool",
    "_<_ _<=_ _>_ _>=_ (uint, double) bool",
    "_<_ _<=_ _>_ _>=_ (uint, int) bool",
    "_<_ _<=_ _>_ _>=_ (double, double) bool",
    "_<_ _<=_ _>_ _>=_ (double, int) bool",
    "_<_ _<=_ _>_ _>=_ (double, uint) bool",
    "_<_ _<=_ _>_ _>=_ (string, string) bool #compare",
    "_<_ _<=_ _>_ _>=_ (bytes, bytes) bool #compare",
    "_<_ _<=_ _>_ _>=_ (timestamp, timestamp) bool",
    "_<_ _<=_ _>_ _>=_ (duration, duration) bool",
];

const KUBERNETES: &str = "\
url (string) URL
getScheme getHost getHostname getPort getEscapedPath .(URL) string
getQuery .(URL) map(string, list(string))
isURL (string) bool
find .(string, string) string
findAll .(string, string) list(string)
findAll .(string, string, int) list(string)
isSorted .(list(int)) bool
isSorted .(list(uint)) bool
isSorted .(list(double)) bool
isSorted .(list(bool)) bool
isSorted .(list(duration)) bool
isSorted .(list(timestamp)) bool
isSorted .(list(string)) bool
isSorted .(list(bytes)) bool
sum .(list(int)) int
sum .(list(uint)) uint
sum .(list(double)) double
sum .(list(duration)) duration
max min .(list(int)) int
max min .(list(uint)) uint
max min .(list(double)) double
max min .(list(bool)) bool
max min .(list(duration)) duration
max min .(list(timestamp)) timestamp
max min .(list(string)) string
max min .(list(bytes)) bytes
indexOf lastIndexOf .(list(A), A) int
path .(Authorizer, string) PathCheck
group .(Authorizer, string) GroupCheck
serviceAccount .(Authorizer, string, string) Authorizer
resource .(GroupCheck, string) ResourceCheck
subresource namespace name fieldSelector labelSelector .(ResourceCheck, string) ResourceCheck
check .(PathCheck, string) Decision
check .(ResourceCheck, string) Decision
errored allowed .(Decision) bool
error reason .(Decision) string
optional.of optional.ofNonZeroValue (V) optional(V)
optional.none () optional(V)
value .(optional(V)) V
hasValue .(optional(V)) bool
or .(optional(V), optional(V)) optional(V)
orValue .(optional(V), V) V
_?._ (dyn, string) optional(V)
_[?_] (list(V), int) optional(V)
_[?_] (optional(list(V)), int) optional(V)
_[?_] (map(K, V), K) optional(V)
_[?_] (optional(map(K, V)), K) optional(V)
_[_] (optional(list(V)), int) optional(V)
_[_] (optional(map(K, V)), K) optional(V)
last first .(list(V)) optional(V)
optional.unwrap (list(optional(V))) list(V)
unwrapOpt .(list(optional(V))) list(V)
quantity (string) Quantity
isQuantity (string) bool
sign (Quantity) int
isGreaterThan isLessThan .(Quantity, Quantity) bool
compareTo .(Quantity, Quantity) int
asApproximateFloat .(Quantity) double
asInteger .(Quantity) int
isInteger .(Quantity) bool
add sub .(Quantity, Quantity) Quantity
add sub .(Quantity, int) Quantity
charAt .(string, int) string
indexOf lastIndexOf .(string, string) int
indexOf lastIndexOf .(string, string, int) int
lowerAscii upperAscii trim .(string) string
replace .(string, string, string) string
replace .(string, string, string, int) string
split .(string, string) list(string)
split .(string, string, int) list(string)
substring .(string, int) string
substring .(string, int, int) string
format .(string, list(dyn)) string #format
strings.quote (string) string #quote
join .(list(string)) string
join .(list(string), string) string
sets.contains sets.intersects (list(T), list(T)) bool #sets
sets.equivalent (list(T), list(T)) bool #sets_twice
ip (string) net.IP
family .(net.IP) int
ip.isCanonical (string) bool
isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast .(net.IP) bool
isIP (string) bool
string (net.IP) string
cidr (string) net.CIDR
containsIP .(net.CIDR, string) bool #contains_text
containsIP .(net.CIDR, net.IP) bool
containsCIDR .(net.CIDR, string) bool #contains_text
containsCIDR .(net.CIDR, net.CIDR) bool
ip .(net.CIDR) net.IP #cidr_ip
prefixLength .(net.CIDR) int
masked .(net.CIDR) net.CIDR
isCIDR (string) bool
string (net.CIDR) string
validate .(Format, string) optional(list(string))
format.named (string) optional(Format)
format.dns1123Label format.dns1123Subdomain format.dns1035Label format.qualifiedName () Format
format.dns1123LabelPrefix format.dns1123SubdomainPrefix format.dns1035LabelPrefix () Format
format.labelValue format.uri format.uuid format.byte format.date format.datetime () Format
cel.@mapInsert (map(K, V), K, V) map(K, V)
cel.@mapInsert (map(K, V), map(K, V)) map(K, V)
semver (string) Semver
semver (string, bool) Semver
isSemver (string) bool
isSemver (string, bool) bool
isGreaterThan isLessThan .(Semver, Semver) bool
compareTo .(Semver, Semver) int
major minor patch .(Semver) int
slice .(list(T), int, int) list(T) #slice
flatten .(list(list(T))) list(T) #flatten
flatten .(list(dyn), int) list(dyn) #flatten
sort .(list(int)) list(int) #sort
sort .(list(uint)) list(uint) #sort
sort .(list(double)) list(double) #sort
sort .(list(bool)) list(bool) #sort
sort .(list(duration)) list(duration) #sort
sort .(list(timestamp)) list(timestamp) #sort
sort .(list(string)) list(string) #sort_text
sort .(list(bytes)) list(bytes) #sort_text
@sortByAssociatedKeys .(list(T), list(int)) list(T) #sort_by
@sortByAssociatedKeys .(list(T), list(uint)) list(T) #sort_by
@sortByAssociatedKeys .(list(T), list(double)) list(T) #sort_by
@sortByAssociatedKeys .(list(T), list(bool)) list(T) #sort_by
@sortByAssociatedKeys .(list(T), list(duration)) list(T) #sort_by
@sortByAssociatedKeys .(list(T), list(timestamp)) list(T) #sort_by
@sortByAssociatedKeys .(list(T), list(string)) list(T) #sort_by_text
@sortByAssociatedKeys .(list(T), list(bytes)) list(T) #sort_by_text
lists.range (int) list(int) #range
reverse .(list(T)) list(T) #reverse
distinct .(list(T)) list(T) #distinct";

#[cfg(test)]
mod tests {
    use super::{COMPARISONS, KUBERNETES, STANDARD, read};

    #[test]
    fn every_line_is_read() {
        for line in STANDARD.lines().chain(COMPARISONS.iter().copied()).chain(KUBERNETES.lines()) {
            assert!(!read(line).is_empty(), "{line}");
        }
    }
}
