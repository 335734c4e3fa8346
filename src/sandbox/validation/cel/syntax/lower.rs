//! A tree as the evaluator knows it, which takes optional fields only as optional indices.

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

/// Changes a tree for the evaluator; whether anything is in it that the evaluator's own parser does not read.
pub(super) fn lower(node: &mut IdedExpr) -> bool {
    let mut is_own = false;
    let mut each = |child: &mut IdedExpr| is_own |= lower(child);
    match &mut node.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| each(target));
            call.args.iter_mut().for_each(&mut each);
            if call.func_name == operators::OPT_SELECT {
                operators::OPT_INDEX.clone_into(&mut call.func_name);
            }
            is_own |= call.func_name == operators::OPT_INDEX;
        }
        Expr::Comprehension(parts) => {
            each(&mut parts.iter_range);
            each(&mut parts.accu_init);
            each(&mut parts.loop_cond);
            each(&mut parts.loop_step);
            each(&mut parts.result);
            is_own |= parts.accu_var != super::RESULT;
        }
        Expr::List(list) => {
            list.elements.iter_mut().for_each(each);
            is_own |= !list.optional_indices.is_empty();
        }
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    is_own |= lower(&mut entry.key) | lower(&mut entry.value) | entry.optional;
                }
            }
        }
        Expr::Select(select) => is_own |= lower(&mut select.operand),
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
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
