"""From a module and images to what it looks at; takes any nn.Module."""
