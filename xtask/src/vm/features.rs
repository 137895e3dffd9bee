//! What is promised on which kernel, and the live tests that show it.

/// A row of the table.
pub struct Feature {
    /// As people call it.
    pub name: &'static str,
    /// The oldest kernel it is promised on.
    pub since: (u32, u32),
    /// Test programs, and the tests of each; those that need more than a slow machine has to give
    /// are left out.
    pub tests: &'static [(&'static str, &'static [&'static str])],
    /// Among those that every change is tried with.
    pub always: bool,
}

/// Older kernels are refused with a sentence.
pub const OLDEST: (u32, u32) = (6, 1);
/// Since then the kernel tells of what goes over sockets without a probe.
const SOCKETS: (u32, u32) = (6, 3);

/// Every row.
pub const ALL: &[Feature] = &[
    Feature {
        name: "mutexes: waits, holders, hold times",
        since: OLDEST,
        tests: &[(
            "truth",
            &["posix_mutexes_are_reported_as_they_were", "rust_mutexes_are_reported_as_they_were"],
        )],
        always: true,
    },
    Feature {
        name: "holders in other PID namespaces",
        since: OLDEST,
        tests: &[(
            "truth",
            &["holders_in_another_pid_namespace_are_known_by_their_ids_on_the_host"],
        )],
        always: false,
    },
    Feature {
        name: "deadlocks",
        since: OLDEST,
        tests: &[(
            "deadlocks",
            &[
                "a_deadlock_is_told_within_a_second_and_once_more_when_it_is_broken",
                "a_mutex_and_a_file_lock_of_two_processes_are_a_circle",
                "a_writer_and_a_reader_of_a_book_are_a_circle_with_a_mutex",
                "three_threads_in_a_ring_are_one_deadlock",
                "two_processes_are_a_circle_through_memory_they_share",
                "two_threads_in_opposite_order_are_found_after_the_fact",
            ],
        )],
        always: true,
    },
    Feature {
        name: "orphans; holders stopped, frozen or in the kernel",
        since: OLDEST,
        tests: &[(
            "deadlocks",
            &[
                "a_frozen_holder_is_told_of_until_it_is_thawed",
                "a_holder_in_the_kernel_is_told_of",
                "a_mutex_of_a_process_that_was_killed_is_an_orphan",
                "a_mutex_of_a_thread_that_ended_is_an_orphan",
                "a_robust_mutex_has_no_orphans_but_heirs",
                "a_stopped_holder_is_told_of_until_it_goes_on",
            ],
        )],
        always: false,
    },
    Feature {
        name: "locks of files, System V semaphores",
        since: OLDEST,
        tests: &[(
            "files",
            &[
                "every_way_to_lock_a_file_is_told_as_it_was",
                "a_wait_that_was_there_before_is_followed_to_its_end",
                "who_slept_before_the_start_is_found_and_so_is_who_is_in_the_way",
            ],
        )],
        always: true,
    },
    Feature {
        name: "lock files (`--lock-files`)",
        since: OLDEST,
        tests: &[(
            "files",
            &[
                "a_lock_file_of_a_process_that_was_killed_or_is_gone_is_an_orphan",
                "git_is_told_who_has_the_index",
            ],
        )],
        always: false,
    },
    Feature {
        name: "every acquisition (`--full`)",
        since: OLDEST,
        tests: &[(
            "full",
            &[
                "ten_thousand_uncontended_acquisitions_are_ten_thousand",
                "opposite_orders_are_found_though_they_never_met",
                "readers_and_writers_are_told_apart",
            ],
        )],
        always: false,
    },
    Feature {
        name: "stacks",
        since: OLDEST,
        tests: &[("stacks", &["functions_and_lines_of_waiter_and_holder_are_right"])],
        always: false,
    },
    Feature {
        name: "lock servers",
        since: SOCKETS,
        tests: &[("redis", &["redis_py_with_either_protocol"])],
        always: true,
    },
    Feature {
        name: "lock servers under TLS (OpenSSL)",
        since: SOCKETS,
        tests: &[("redis", &["redis_py_under_tls"])],
        always: false,
    },
];
