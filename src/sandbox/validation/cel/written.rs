//! Expressions as they are looked at when the object that holds them is written: types, results and costs.
//!
//! An expression that only the evaluator's parser understands passes unchecked; what neither understands is refused in
//! the words of the evaluator's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check::{self, Checked, Declared, Environment, Refused, Type};
use super::engine::Expression;
use super::stack;

/// What was found of an expression, unless it cannot be checked.
fn compile(source: &str, environment: &Environment) -> Result<Option<Checked>, String> {
    match stack::with_room(stack::is_long(source), || check::check(source, environment))? {
        Ok(checked) => Ok(Some(checked)),
        Err(Refused::Why(why)) => Err(why),
        Err(Refused::Syntax) => Expression::new(source).broken().map_or(Ok(None), Err),
    }
}

/// A node of a schema, whose rules are looked at.
pub struct SchemaNode {
    declared: Declared,
    environment: Environment,
    /// With an `oldSelf` that may be absent.
    optional: Environment,
}

/// A rule that is right.
#[derive(Clone, Copy)]
pub struct RuleFacts {
    /// What one run of it costs at most.
    pub max_cost: u64,
    pub uses_old_self: bool,
}

impl SchemaNode {
    /// A schema as its rules see it; nothing if there is nothing that they could see. `root` says whether it is that of a
    /// whole object.
    pub fn new(schema: &Value, root: bool) -> Option<Self> {
        let declared = Declared::new(schema, root)?;
        // The real server takes another number each time.
        let own = declared.to_type("selfType1");
        let with_old = |old: Type| {
            let mut environment = Environment::default();
            environment.declare("self", own.clone());
            environment.declare("oldSelf", old);
            environment
        };
        let (environment, optional) =
            (with_old(own.clone()), with_old(Type::optional(own.clone())));
        Some(Self { declared, environment, optional })
    }

    /// How often values of the schema can be in one request at most.
    pub fn max_cardinality(&self) -> u64 {
        self.declared.max_cardinality()
    }

    fn environment(&self, optional_old_self: bool) -> &Environment {
        if optional_old_self { &self.optional } else { &self.environment }
    }

    /// Looks at a rule; the error is what the API server says of it.
    pub fn rule(&self, source: &str, optional_old_self: bool) -> Result<RuleFacts, String> {
        let environment = self.environment(optional_old_self);
        let compiled =
            compile(source, environment).map_err(|why| format!("compilation failed: {why}"))?;
        let Some(checked) = compiled else {
            let uses_old_self = Expression::new(source).uses("oldSelf");
            return Ok(RuleFacts { max_cost: 0, uses_old_self });
        };
        if checked.result() != Type::Bool {
            return Err("cel expression must evaluate to a bool".to_owned());
        }
        let max_cost = checked.max_cost(&self.declared);
        Ok(RuleFacts { max_cost, uses_old_self: checked.uses("oldSelf") })
    }

    /// Looks at a rule's `messageExpression`; what it costs at most.
    pub fn message(&self, source: &str, optional_old_self: bool) -> Result<u64, String> {
        let environment = self.environment(optional_old_self);
        let compiled = compile(source, environment)
            .map_err(|why| format!("messageExpression compilation failed: {why}"))?;
        let Some(checked) = compiled else { return Ok(0) };
        if checked.result() != Type::String {
            return Err("messageExpression must evaluate to a string".to_owned());
        }
        Ok(checked.max_cost(&self.declared))
    }
}

/// What an expression of a policy is for, which says what it must give and what it may name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    AuditAnnotation,
    MatchCondition,
    Message,
    Validation,
    Variable,
}

/// The expressions of one policy or webhook, in the order in which they see each other.
pub struct PolicyExpressions {
    has_params: bool,
    /// The variables so far, if the policy has any.
    variables: Option<BTreeMap<String, Type>>,
}

impl PolicyExpressions {
    /// Of a policy with or without `paramKind` and `variables`.
    pub fn new(has_params: bool, has_variables: bool) -> Self {
        Self { has_params, variables: has_variables.then(BTreeMap::new) }
    }

    /// Looks at an expression; the error is what the API server says of it.
    pub fn check(&self, source: &str, of: Use) -> Result<(), String> {
        let kind = self.kind(source, of)?;
        let wanted: &[Type] = match of {
            Use::MatchCondition | Use::Validation => &[Type::Bool],
            Use::Message => &[Type::String],
            Use::AuditAnnotation => &[Type::String, Type::Null],
            Use::Variable => return Ok(()),
        };
        let Some(kind) = kind.filter(|kind| !wanted.contains(kind)) else { return Ok(()) };
        let wanted: Vec<String> = wanted.iter().map(Type::registered).collect();
        Err(match wanted.as_slice() {
            [one] => format!("must evaluate to {one} but got {}", kind.registered()),
            several => format!(
                "must evaluate to one of [{}] but got {}",
                several.join(" "),
                kind.registered()
            ),
        })
    }

    /// Looks at a variable, which expressions after it may name then, whatever is wrong with it.
    pub fn variable(&mut self, name: &str, source: &str) -> Result<(), String> {
        let found = self.kind(source, Use::Variable);
        let kind = found.as_ref().ok().cloned().flatten().map_or(Type::Dyn, |kind| seen(&kind));
        if let Some(variables) = &mut self.variables {
            variables.insert(name.to_owned(), kind);
        }
        found.map(|_| ())
    }

    fn kind(&self, source: &str, of: Use) -> Result<Option<Type>, String> {
        compile(source, &self.environment(of))
            .map(|checked| checked.map(|checked| checked.result()))
            .map_err(|why| format!("compilation failed: {why}"))
    }

    fn environment(&self, of: Use) -> Environment {
        let mut environment = Environment::default();
        for name in ["object", "oldObject"] {
            environment.declare(name, Type::Dyn);
        }
        environment.declare("request", request_type());
        environment.declare("namespaceObject", namespace_type());
        if self.has_params {
            environment.declare("params", Type::Dyn);
        }
        if of != Use::Message {
            let authorizer =
                |name: &str| Type::object(&format!("kubernetes.authorization.{name}"), Vec::new());
            environment.declare("authorizer", authorizer("Authorizer"));
            environment.declare("authorizer.requestResource", authorizer("ResourceCheck"));
        }
        if let Some(variables) = self.variables.as_ref().filter(|_| of != Use::MatchCondition) {
            let fields =
                variables.iter().map(|(name, kind)| (name.as_str(), kind.clone())).collect();
            environment.declare("variables", Type::object("kubernetes.variables", fields));
        }
        environment
    }
}

/// A variable's type as later expressions see it: of other than simple values they know nothing.
fn seen(kind: &Type) -> Type {
    match kind {
        Type::List(of) => Type::list(seen(of)),
        Type::Map(key, value) => Type::map(seen(key), seen(value)),
        Type::Opaque(..) | Type::Struct(_) | Type::Meta(_) | Type::Error => Type::Dyn,
        simple => simple.clone(),
    }
}

fn request_type() -> Type {
    let text = || Type::String;
    let kind = || {
        let fields = vec![("group", text()), ("version", text()), ("kind", text())];
        Type::object("kubernetes.GroupVersionKind", fields)
    };
    let resource = || {
        let fields = vec![("group", text()), ("version", text()), ("resource", text())];
        Type::object("kubernetes.GroupVersionResource", fields)
    };
    let user = vec![
        ("username", text()),
        ("uid", text()),
        ("groups", Type::list(text())),
        ("extra", Type::map(text(), Type::list(text()))),
    ];
    Type::object(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", Type::object("kubernetes.UserInfo", user)),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace_type() -> Type {
    let text = || Type::String;
    let texts = || Type::map(text(), text());
    let condition = vec![
        ("status", text()),
        ("type", text()),
        ("lastTransitionTime", Type::Timestamp),
        ("message", text()),
        ("reason", text()),
    ];
    let status = vec![
        ("conditions", Type::list(Type::object("kubernetes.NamespaceCondition", condition))),
        ("phase", text()),
    ];
    let metadata = vec![
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", texts()),
        ("annotations", texts()),
        ("UID", text()),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", text()),
        ("finalizers", Type::list(text())),
    ];
    let spec = vec![("finalizers", Type::list(text()))];
    Type::object(
        "kubernetes.Namespace",
        vec![
            ("metadata", Type::object("kubernetes.NamespaceMetadata", metadata)),
            ("spec", Type::object("kubernetes.NamespaceSpec", spec)),
            ("status", Type::object("kubernetes.NamespaceStatus", status)),
        ],
    )
}
