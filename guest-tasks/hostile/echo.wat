;; Attacks: `input_bytes` and `output_bytes`, by what it is given.
;; Input: any; it is the output.
;; When the host says no: `unreachable` if memory for the input is refused.
;; Must happen: completes and returns its input; an input larger than memory allows ends as `memory_limit`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
