# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_lockprobe_global_optspecs
    string join \n h/help V/version
end

function __fish_lockprobe_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_lockprobe_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_lockprobe_using_subcommand
    set -l cmd (__fish_lockprobe_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c lockprobe -n "__fish_lockprobe_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -s V -l version -d 'Print version'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "trace" -d 'Show lock waits as they end, and sums at the end'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "run" -d 'Observe for good, as a service: to a collector, at endpoints, into a log'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "config" -d 'Check a configuration of `run`, show what is in force, print its schema'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "record" -d 'Record what is seen to a file, to be replayed anywhere'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "replay" -d 'Show a recording as `trace` would have shown it'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "snapshot" -d 'Show who waits for which lock of whom, now'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "deadlocks" -d 'Find threads that wait for each other and never go on, also those that began before'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "doctor" -d 'Say whether this machine can be observed, and what is missing'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "demo" -d 'Run built-in workloads and show what lockprobe reports beside the truth'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "generate" -d 'Print a generated document'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "bench" -d 'Measure lockprobe itself'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "demo-workload" -d 'Be a workload of the demo'
complete -c lockprobe -n "__fish_lockprobe_needs_command" -f -a "exec-when-told" -d 'Stop, and when continued become a command'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -s p -l pid -d 'Watch this process and the children it starts; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l exe -d 'Watch processes whose executable matches; a pattern with a slash is matched against the whole path; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l min-wait -d 'Show waits from this length on; shorter ones are counted all the same' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l stack-threshold -d 'Take the stacks of waits from this length on' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l server -d 'Follow the clients of a lock server at this port too: redis, etcd, zookeeper, postgresql, mysql, memcached or consul; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l duration -l for -d 'End after this time' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l harvest-every -d 'How often the kernel\'s counts are taken out' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l ring-size -d 'Size of the buffer between kernel and lockprobe' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l lock-pattern -d 'Keys of Redis and memcached like this are called after locks: a word of the key, or with `*` the whole key; beside lock, mutex, lease, leader, semaphore; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l ignore-pattern -d 'Keys of Redis and memcached like this are never locks; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l format -d 'How to show records' -r -f -a "table\t'Lines for people'
jsonl\t'One JSON object a line'
folded\t'Stacks and how long was waited there, for flame graph tools'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l output -d 'Write to a file instead of standard output' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l otlp -d 'Also send spans and findings to an OpenTelemetry collector, like http://127.0.0.1:4317; a path or port 4318 means OTLP over HTTP, else gRPC unless OTEL_EXPORTER_OTLP_PROTOCOL says otherwise' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l lock-name -d 'Call the locks that match NAME; the pattern is matched against name, lock.id and call site; may be given several times, the first match counts' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l metrics-interval -d 'Also write all numbers, as a collector would get them, at this interval and at the end; not in the table' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l group-by -d 'What the sums at the end have a line for' -r -f -a "lock\t'Each lock'
call-site\t'Code that waits: locks in objects of one kind are one line'
name\t'Name: with --lock-name, all locks called the same are one line'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l http -d 'Also serve metrics for Prometheus, health and snapshots over HTTP at this address, like 127.0.0.1:9464; whoever can reach it can read them' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l no-stacks -d 'Take no stacks'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l lock-files -d 'Follow lock files too (O_EXCL, mkdir, link, rename): slows every system call of the host'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l no-servers -d 'Do not follow the clients of lock servers'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l full -d 'Follow every acquisition of a POSIX lock, contended or not, in the processes chosen: counts, exact hold times, order of locks. Costs them about a microsecond each time; children are followed from a moment after they begin. Ends after 10 s unless --duration says otherwise, 10 min at most'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l naive-probes -d 'With --full, probe the entries of functions, whatever that costs'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l row-locks -d 'Show rows that statements lock by their words too (SELECT ... FOR UPDATE), of PostgreSQL and MySQL'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l table-locks -d 'Show tables that LOCK TABLE locks too, of PostgreSQL'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -l stacks -d 'Show stacks below the waits in the table; the other formats always have them'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand run" -s c -l config -d 'Read this file (default: none, everything as it is by itself)' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand run" -l set -d 'Set a key, whatever file and environment say, like capture.min_wait=5ms; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand run" -l dry-run -d 'Attach nothing: say which processes would be watched, by which selector, and what would be attached and served'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand run" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and not __fish_seen_subcommand_from validate show schema" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and not __fish_seen_subcommand_from validate show schema" -f -a "validate" -d 'Say all that is wrong with a file, with line and column; the status is 2 if anything is'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and not __fish_seen_subcommand_from validate show schema" -f -a "show" -d 'Show every key, what it is set to and by whom; secrets are masked'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and not __fish_seen_subcommand_from validate show schema" -f -a "schema" -d 'Print the JSON Schema of the file'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and __fish_seen_subcommand_from validate" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'Read this file (default: none, everything as it is by itself)' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and __fish_seen_subcommand_from show" -l set -d 'Set a key, whatever file and environment say, like capture.min_wait=5ms; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -s p -l pid -d 'Watch this process and the children it starts; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l exe -d 'Watch processes whose executable matches; a pattern with a slash is matched against the whole path; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l min-wait -d 'Show waits from this length on; shorter ones are counted all the same' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l stack-threshold -d 'Take the stacks of waits from this length on' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l server -d 'Follow the clients of a lock server at this port too: redis, etcd, zookeeper, postgresql, mysql, memcached or consul; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l duration -l for -d 'End after this time' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l harvest-every -d 'How often the kernel\'s counts are taken out' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l ring-size -d 'Size of the buffer between kernel and lockprobe' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l lock-pattern -d 'Keys of Redis and memcached like this are called after locks: a word of the key, or with `*` the whole key; beside lock, mutex, lease, leader, semaphore; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l ignore-pattern -d 'Keys of Redis and memcached like this are never locks; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -s o -l output -d 'The recording; it gets its name when it is complete' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l no-stacks -d 'Take no stacks'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l lock-files -d 'Follow lock files too (O_EXCL, mkdir, link, rename): slows every system call of the host'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l no-servers -d 'Do not follow the clients of lock servers'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l full -d 'Follow every acquisition of a POSIX lock, contended or not, in the processes chosen: counts, exact hold times, order of locks. Costs them about a microsecond each time; children are followed from a moment after they begin. Ends after 10 s unless --duration says otherwise, 10 min at most'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l naive-probes -d 'With --full, probe the entries of functions, whatever that costs'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l row-locks -d 'Show rows that statements lock by their words too (SELECT ... FOR UPDATE), of PostgreSQL and MySQL'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -l table-locks -d 'Show tables that LOCK TABLE locks too, of PostgreSQL'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand record" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l lock-pattern -d 'Keys of Redis and memcached like this are called after locks: a word of the key, or with `*` the whole key; beside lock, mutex, lease, leader, semaphore; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l ignore-pattern -d 'Keys of Redis and memcached like this are never locks; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l format -d 'How to show records' -r -f -a "table\t'Lines for people'
jsonl\t'One JSON object a line'
folded\t'Stacks and how long was waited there, for flame graph tools'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l output -d 'Write to a file instead of standard output' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l otlp -d 'Also send spans and findings to an OpenTelemetry collector, like http://127.0.0.1:4317; a path or port 4318 means OTLP over HTTP, else gRPC unless OTEL_EXPORTER_OTLP_PROTOCOL says otherwise' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l lock-name -d 'Call the locks that match NAME; the pattern is matched against name, lock.id and call site; may be given several times, the first match counts' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l metrics-interval -d 'Also write all numbers, as a collector would get them, at this interval and at the end; not in the table' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l group-by -d 'What the sums at the end have a line for' -r -f -a "lock\t'Each lock'
call-site\t'Code that waits: locks in objects of one kind are one line'
name\t'Name: with --lock-name, all locks called the same are one line'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l row-locks -d 'Show rows that statements lock by their words too (SELECT ... FOR UPDATE), of PostgreSQL and MySQL'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l table-locks -d 'Show tables that LOCK TABLE locks too, of PostgreSQL'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -l stacks -d 'Show stacks below the waits in the table; the other formats always have them'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand snapshot" -s p -l pid -d 'Look at this process; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand snapshot" -l exe -d 'Look at processes whose executable matches; a pattern with a slash is matched against the whole path; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand snapshot" -l format -d 'How to show it' -r -f -a "table\t'Lines for people'
json\t'One JSON object'
dot\t'A graph for graphviz'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand snapshot" -l output -d 'Write to a file instead of standard output' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand snapshot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand deadlocks" -s p -l pid -d 'Look at this process; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand deadlocks" -l exe -d 'Look at processes whose executable matches; a pattern with a slash is matched against the whole path; may be given several times' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand deadlocks" -l format -d 'How to show them' -r -f -a "table\t'Lines for people'
json\t'One JSON object a line: findings as `trace` has them, then what was looked at'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand deadlocks" -l output -d 'Write to a file instead of standard output' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand deadlocks" -l watch -d 'Keep looking until Ctrl-C; tell each deadlock once, and its end'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand deadlocks" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand doctor" -l format -d 'How to show the result' -r -f -a "table\t'Lines for people'
json\t'One JSON object'"
complete -c lockprobe -n "__fish_lockprobe_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "man" -d 'The manual page'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "completions" -d 'Shell completions'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "schema" -d 'The JSON Schema of the records'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "snapshot-schema" -d 'The JSON Schema of a snapshot'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "signals" -d 'Everything that leaves lockprobe by name, as Markdown'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "configuration" -d 'The reference of the configuration'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and not __fish_seen_subcommand_from man completions schema snapshot-schema signals configuration configuration-schema" -f -a "configuration-schema" -d 'The JSON Schema of the configuration'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from man" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from completions" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from snapshot-schema" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from signals" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from configuration" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand generate; and __fish_seen_subcommand_from configuration-schema" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l rate -d 'Synthetic records a second; 0 for as many as possible' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l duration -d 'How long' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l output -d 'Where JSON lines of the records go; nowhere by default' -r -F
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l ring-size -d 'Size of the ring' -r
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l graph -d 'Measure the wait-for graph alone'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l metrics -d 'Measure numbers over time alone'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -l talk -d 'Measure the decoding of what clients say to lock servers alone'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand bench" -s h -l help -d 'Print help'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand demo-workload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lockprobe -n "__fish_lockprobe_using_subcommand exec-when-told" -s h -l help -d 'Print help'
