//! The bound on a worker's memory. The allocator has read it in the environment and reserved all of it when the process
//! started; an allocation beyond it fails, which ends the process.

use std::ffi::c_long;

/// `mi_option_arena_reserve`; the bindings do not name it.
const ARENA_RESERVE: libmimalloc_sys::mi_option_t = 23;

/// Returns whether the allocator asks the system for no more than it has reserved.
pub fn is_bounded() -> bool {
    option(libmimalloc_sys::mi_option_limit_os_alloc) != 0
        && option(libmimalloc_sys::mi_option_reserve_os_memory) > 0
        && option(ARENA_RESERVE) == 0
}

fn option(number: libmimalloc_sys::mi_option_t) -> c_long {
    #[expect(unsafe_code, reason = "a foreign function; it only reads a number")]
    unsafe {
        libmimalloc_sys::mi_option_get(number)
    }
}
