;; Attacks: `host_calls`, by the cheapest call there is, `monotonic-clock.now`.
;; Input: N calls; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `hostcall_limit` (or `fuel_exhausted`); under, completes and returns its input.
(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "now" (func (result u64)))))
  ;; include skeleton
  (core func $now (canon lower (func $clock "now")))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "now" (func $now (result i64)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (drop (call $now))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "now" (func $now))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
