;; Attacks: the canonical ABI: an error text that is not UTF-8.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `abi_violation`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (data (i32.const 128) "\ff\fe\80")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 1) (i32.const 128) (i32.const 3))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
