;; Attacks: nothing; a task that calls `wasi:cli/exit` instead of returning.
;; Input: 0 = exits with ok, anything else with an error.
;; When the host says no: -
;; Must happen: an answer of its own, never a host panic: the exit ends this task only (exit code 0 or 1).
(component
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))
  ;; include skeleton
  (core func $exit (canon lower (func $exit "exit")))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "host" "exit" (func $exit (param i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $exit (i64.ne (call $number (local.get $at) (local.get $len)) (i64.const 0)))
      unreachable))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "exit" (func $exit))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
