//! A tree as the evaluator knows it, which takes optional fields only as optional indices.

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::children_mut;

/// Changes a tree for the evaluator; whether anything is in it that the evaluator's own parser does not read.
pub(super) fn lower(node: &mut IdedExpr) -> bool {
    let mut is_own = false;
    for child in children_mut(&mut node.expr) {
        is_own |= lower(child);
    }
    is_own |= match &mut node.expr {
        Expr::Call(call) => {
            if call.func_name == operators::OPT_SELECT {
                operators::OPT_INDEX.clone_into(&mut call.func_name);
            }
            call.func_name == operators::OPT_INDEX
        }
        Expr::Comprehension(parts) => parts.accu_var != super::RESULT,
        Expr::List(list) => !list.optional_indices.is_empty(),
        Expr::Map(map) => map
            .entries
            .iter()
            .any(|entry| matches!(&entry.expr, EntryExpr::MapEntry(entry) if entry.optional)),
        Expr::Select(_)
        | Expr::Struct(_)
        | Expr::Ident(_)
        | Expr::Literal(_)
        | Expr::Unspecified => false,
    };
    // A field of something optional is optional, too.
    if let Expr::Select(select) = &mut node.expr
        && !select.test
        && is_optional(&select.operand)
    {
        let field = LiteralValue::String(std::mem::take(&mut select.field).into());
        let field = IdedExpr { id: node.id, expr: Expr::Literal(field) };
        let args = vec![std::mem::take(&mut *select.operand), field];
        let func_name = operators::OPT_INDEX.to_owned();
        node.expr = Expr::Call(CallExpr { func_name, target: None, args });
    }
    is_own
}

fn is_optional(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Call(call) if call.func_name == operators::OPT_INDEX => true,
        Expr::Call(call) if call.func_name == operators::INDEX => {
            call.args.first().is_some_and(is_optional)
        }
        _ => false,
    }
}
