;; Attacks: `checkpoint_bytes`.
;; Input: N bytes of `x` saved under the name `c`, below 2^32 - 65 536; empty = more than a memory holds.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: over, `budget_exhausted` with the text `budget-exhausted`, nothing stored; under, completes and
;;   returns its input.
(component
  ;; include types
  (import "omnimind:runtime/task-context@0.1.0" (instance $context
    (export "error" (type $e (eq $error)))
    (export "save-checkpoint" (func (param "name" string) (param "data" (list u8)) (result (result (error $e)))))))
  ;; include skeleton
  (core func $save-checkpoint
    (canon lower (func $context "save-checkpoint") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "save-checkpoint" (func $save-checkpoint (param i32 i32 i32 i32 i32)))
    (data (i32.const 128) "c")
    (data (i32.const 136) "budget-exhaustedrefused")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $data i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $data (call $alloc (local.get $n)))
      (memory.fill (local.get $data) (i32.const 0x78) (i32.wrap_i64 (local.get $n)))
      ;; result<_, error> at 64: its discriminant there, the error's at 72, where 3 is budget-exhausted
      (call $save-checkpoint (i32.const 128) (i32.const 1)
        (local.get $data) (i32.wrap_i64 (local.get $n)) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
          (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
        (return (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "save-checkpoint" (func $save-checkpoint))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
