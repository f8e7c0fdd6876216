//! Memory, tables and instances of one call.

use wasmtime::ResourceLimiter;

/// Elements of all tables together; functions of large Python components fill some ten thousand.
const TABLE_ELEMENTS_MAX: usize = 200_000;
pub const INSTANCES_MAX: usize = 256;
pub const TABLES_MAX: usize = 64;
pub const MEMORIES_MAX: usize = 16;

#[derive(Debug)]
pub struct Limiter {
    memory_max: usize,
    memory: usize,
    elements: usize,
    /// The guest asked for more than it may have.
    pub refused: bool,
}

impl Limiter {
    pub fn new(memory_max: u64) -> Limiter {
        let memory_max = usize::try_from(memory_max).unwrap_or(usize::MAX);
        Limiter { memory_max, memory: 0, elements: 0, refused: false }
    }
}

impl ResourceLimiter for Limiter {
    /// All memories of a call count together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        if self.memory.saturating_add(more) > self.memory_max {
            self.refused = true;
            return Ok(false);
        }
        self.memory += more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if self.elements.saturating_add(more) > TABLE_ELEMENTS_MAX {
            self.refused = true;
            return Ok(false);
        }
        self.elements += more;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_count_together_and_a_refusal_is_remembered() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 80, None).unwrap());
        assert!(!limiter.refused);
        assert!(!limiter.memory_growing(0, 40, None).unwrap());
        assert!(limiter.refused);
    }

    #[test]
    fn a_guests_own_maximum_is_no_refusal_of_ours() {
        let mut limiter = Limiter::new(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limiter.refused);
        assert!(!limiter.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).unwrap());
        assert!(limiter.refused);
    }
}
