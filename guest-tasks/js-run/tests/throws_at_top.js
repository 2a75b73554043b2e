const { x } = JSON.parse("{");
