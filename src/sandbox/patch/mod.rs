//! JSON patch, JSON merge patch and strategic merge patch as functions of an object and a patch.
