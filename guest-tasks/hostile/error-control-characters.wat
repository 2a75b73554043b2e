;; Attacks: logs and terminals: an error text with ANSI escapes, CR, LF, NUL and a bell.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `guest_error` with the text escaped, one log record.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (data (i32.const 128) "\1b[2J\1b[31mred\1b[0m\0d\0alevel=error forged=yes\00\07end")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 1) (i32.const 128) (i32.const 45))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
