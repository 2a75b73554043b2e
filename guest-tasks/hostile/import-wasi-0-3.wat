;; Attacks: linking: imports an interface of WASI 0.3.
;; Input: anything.
;; When the host says no: the component is refused before it runs.
;; Must happen: `unknown_import`, saying why and what to do; not that some other version is offered.
(component
  (type $s (stream u8))
  (import "wasi:cli/stdout@0.3.0" (instance (export "write-via-stream" (func (param "data" $s)))))
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
