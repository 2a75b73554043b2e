;; Attacks: nothing; the reader of what `checkpoint` saved.
;; Input: ignored.
;; When the host says no: returns the error `refused`.
;; Must happen: returns the bytes saved under `c`, or the error `no checkpoint`.
(component
  ;; include types
  (import "omnimind:runtime/task-context@0.1.0" (instance $context
    (export "error" (type $e (eq $error)))
    (export "load-checkpoint" (func (param "name" string) (result (result (option (list u8)) (error $e)))))))
  ;; include skeleton
  (core func $load-checkpoint
    (canon lower (func $context "load-checkpoint") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "load-checkpoint" (func $load-checkpoint (param i32 i32 i32)))
    (data (i32.const 128) "c")
    (data (i32.const 136) "refusedno checkpoint")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      ;; result<option<list<u8>>, error> at 64: its discriminant there, the option's at 72, the list at 76 and 80
      (call $load-checkpoint (i32.const 128) (i32.const 1) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 7)))))
      (if (i32.eqz (i32.load8_u (i32.const 72))) (then
        (return (call $answer (i32.const 1) (i32.const 143) (i32.const 13)))))
      (call $answer (i32.const 0) (i32.load (i32.const 76)) (i32.load (i32.const 80)))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "load-checkpoint" (func $load-checkpoint))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
