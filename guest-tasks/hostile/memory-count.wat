;; Attacks: `memories`: 8 linear memories of one page, the skeleton's and 7 more (9 core instances).
;; Input: ignored.
;; When the host says no: it never runs.
;; Must happen: with `memories` 7 refused at instantiation naming `memories`; with 8 it returns its input.
(component
  ;; include skeleton
  (core module $cell
    (memory 1))
  (core instance (instantiate $cell))
  (core instance (instantiate $cell))
  (core instance (instantiate $cell))
  (core instance (instantiate $cell))
  (core instance (instantiate $cell))
  (core instance (instantiate $cell))
  (core instance (instantiate $cell))
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
