;; Attacks: `handles` and `wall_ms`: one `poll` over many timers.
;; Input: N pollables of one hour each, at least 1; empty = 1 000 000 (4 MB of handles).
;; When the host says no: it never learns; the host stops it.
;; Must happen: over the `handles` limit, `handle_limit`; under it, `deadline_exceeded` while it polls. It has
;;   no twin that completes.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  ;; include skeleton
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $poll
    (canon lower (func $poll "poll") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "poll" (func $poll (param i32 i32 i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (local $n i64) (local $list i32) (local $i i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (if (i64.gt_u (local.get $n) (i64.const 1000000)) (then (local.set $n (i64.const 1000000))))
      (local.set $list (call $alloc (i64.mul (local.get $n) (i64.const 4))))
      (loop $again
        (if (i64.lt_u (i64.extend_i32_u (local.get $i)) (local.get $n)) (then
          (i32.store (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 4)))
            (call $subscribe (i64.const 3600000000000)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $again))))
      (call $poll (local.get $list) (local.get $i) (i32.const 64))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "subscribe" (func $subscribe))
      (export "poll" (func $poll))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
