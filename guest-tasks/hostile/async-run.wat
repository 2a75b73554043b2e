;; Attacks: the contract: a `run` that is asynchronous, as WASI 0.3 has functions. It says that it will answer later, and
;;   never does.
;; Input: anything.
;; When the host says no: the component is refused before it runs.
;; Must happen: `component_invalid`, naming the asynchronous lift and WASI 0.2 as the way out.
(component
  ;; include skeleton
  (core module $attack
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (i32.const 1))
    (func $again (export "again") (param i32 i32 i32) (result i32) (i32.const 1)))
  (core instance $attack (instantiate $attack))
  (func (export "run") async (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") async (callback (func $attack "again"))
      (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
