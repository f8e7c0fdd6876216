//! The facts of many models, from what their folders would say.
