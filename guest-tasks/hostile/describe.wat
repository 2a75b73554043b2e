;; Attacks: nothing; asks the host about itself.
;; Input: ignored.
;; When the host says no: returns the error `no fuel budget` if `remaining("fuel")` is none.
;; Must happen: completes and returns its task id.
(component
  ;; include types
  (import "omnimind:runtime/task-context@0.1.0" (instance $context
    (export "error" (type $e (eq $error)))
    (type $i (record (field "task-id" string) (field "attempt" u32) (field "plan-id" (option string))
      (field "step" (option string)) (field "metadata" string)))
    (export "info" (type $info (eq $i)))
    (export "describe" (func (result $info)))
    (export "remaining" (func (param "budget" string) (result (option u64))))))
  ;; include skeleton
  (core func $describe
    (canon lower (func $context "describe") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core func $remaining (canon lower (func $context "remaining") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "describe" (func $describe (param i32)))
    (import "host" "remaining" (func $remaining (param i32 i32 i32)))
    (data (i32.const 192) "fuel")
    (data (i32.const 200) "no fuel budget")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $remaining (i32.const 192) (i32.const 4) (i32.const 64))
      (if (i32.eqz (i32.load8_u (i32.const 64))) (then
        (return (call $answer (i32.const 1) (i32.const 200) (i32.const 14)))))
      (call $describe (i32.const 128))
      (call $answer (i32.const 0) (i32.load (i32.const 128)) (i32.load (i32.const 132)))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "describe" (func $describe))
      (export "remaining" (func $remaining))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
