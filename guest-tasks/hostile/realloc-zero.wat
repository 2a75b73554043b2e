;; Attacks: nothing; `realloc` returns 0, which is legal.
;; Input: up to 16 bytes.
;; When the host says no: -
;; Must happen: completes and returns its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 0))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $attack "realloc"))))
)
