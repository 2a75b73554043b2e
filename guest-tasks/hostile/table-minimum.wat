;; Attacks: `table_elements` at instantiation: a table whose minimum is 10 000 000 elements.
;; Input: ignored.
;; When the host says no: it never runs.
;; Must happen: `table_limit`, or a refusal before instantiation; with 10 000 000 elements allowed it returns
;;   its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (table 10000000 funcref)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
