//! What a script says about itself without being run: its parameters, the steps it names, the scripts it runs.

use rhai::{AST, ASTNode, Dynamic, Expr, FnCallExpr, Stmt};

/// A parameter as the script declares it.
#[derive(Clone, Debug)]
pub struct OutlinedParam {
    pub name: String,
    /// The default, if it is written as a literal.
    pub default: Option<Dynamic>,
    pub doc: String,
}

/// The outline of one script.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    pub params: Vec<OutlinedParam>,
    /// Names of steps that are written as literals.
    pub steps: Vec<String>,
    /// Scripts that it runs, as written.
    pub scripts: Vec<String>,
    /// Imports, as written.
    pub imports: Vec<String>,
    /// The name of a parameter, a script or an import is computed: there may be more parameters than listed.
    pub is_open: bool,
}

/// Reads the outline off the tree.
pub fn of(ast: &AST) -> Outline {
    let mut outline = Outline::default();
    ast.walk(&mut |path| {
        match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _)))
                if call.namespace.is_empty() =>
            {
                note(&mut outline, call);
            }
            Some(ASTNode::Stmt(Stmt::Import(import, _))) => match &import.0 {
                Expr::StringConstant(path, _) => outline.imports.push(path.to_string()),
                _ => outline.is_open = true,
            },
            _ => {}
        }
        true
    });
    outline
}

fn note(outline: &mut Outline, call: &FnCallExpr) {
    let first = match call.args.first() {
        Some(Expr::StringConstant(text, _)) => Some(text.to_string()),
        _ => None,
    };
    match (call.name.as_str(), first) {
        ("param", Some(name)) => {
            let doc = match call.args.get(2) {
                Some(Expr::StringConstant(text, _)) => text.to_string(),
                _ => String::new(),
            };
            let default = call.args.get(1).and_then(|default| default.get_literal_value(None));
            if outline.params.iter().all(|known| known.name != name) {
                outline.params.push(OutlinedParam { name, default, doc });
            }
        }
        ("step", Some(name)) => outline.steps.push(name),
        ("run_script", Some(path)) => outline.scripts.push(path),
        ("param" | "run_script", None) => outline.is_open = true,
        _ => {}
    }
}
