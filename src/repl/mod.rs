//! (placeholder head, replaced by the module)
