;; Attacks: `host_calls`, and the rate of events that clients get.
;; Input: N reports, the percentage going round from 0 to 100; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over `host_calls`, `hostcall_limit`; under, completes and returns its input, and clients see
;;   few of the reports and always the last.
(component
  ;; include types
  (import "omnimind:runtime/task-context@0.1.0" (instance $context
    (export "error" (type $e (eq $error)))
    (export "report-progress" (func (param "percent" f32) (param "message" string)))))
  ;; include skeleton
  (core func $report-progress (canon lower (func $context "report-progress") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "report-progress" (func $report-progress (param f32 i32 i32)))
    (data (i32.const 128) "step")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (call $report-progress
            (f32.convert_i64_u (i64.rem_u (local.get $n) (i64.const 101))) (i32.const 128) (i32.const 4))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "report-progress" (func $report-progress))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
