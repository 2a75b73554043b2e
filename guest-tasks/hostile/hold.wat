;; Attacks: the machine's RAM: takes it at once, touches it, and does nothing more.
;; Input: N pages (64 KiB) that the memory has in the end; it then sleeps for a minute.
;; When the host says no: `unreachable`.
;; Must happen: where the machine is short of memory, `machine_memory`, and tried again later; else as `grow-touch`.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  ;; include skeleton
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $next i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      ;; All at once, and touched page by page: a machine that becomes short of it finds nothing to refuse.
      (if (i32.eq (memory.grow (i32.sub (i32.wrap_i64 (local.get $n)) (memory.size))) (i32.const -1))
        (then unreachable))
      (local.set $next (i32.const 65536))
      (loop $again
        (memory.fill (local.get $next) (i32.const 170) (i32.const 65536))
        (local.set $next (i32.add (local.get $next) (i32.const 65536)))
        (br_if $again (i32.lt_u (i32.shr_u (local.get $next) (i32.const 16)) (memory.size))))
      (call $block (call $subscribe (i64.const 60000000000)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "subscribe" (func $subscribe))
      (export "block" (func $block))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
